/*
 * Exit with 0 if the NFS server of this container stores a file, returns it, and removes it, as an NFS client sees it.
 * Otherwise print the error. While clients reclaim after a start (the grace period), the server accepts no new file.
 * On a full volume it exits with 0 too: the server responds, and its clients can read.
 *
 * It is a program since libnfs has none that removes a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw-nfs4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PLACE "/.ready"
#define LIMIT_S 8 /* below the time limits of the probes, so that no check outlives its probe */

static struct nfs_context *nfs;

static void require(int result, int expected, const char *step)
{
	if (result == expected)
		return;
	fprintf(stderr, "%s: %s\n", step, result < 0 ? nfs_get_error(nfs) : "wrong length");
	exit(1);
}

/* Like `require`, for a step that needs space on the volume. */
static void require_stored(int result, int expected, const char *step)
{
	if (result != -ENOSPC) {
		require(result, expected, step);
		return;
	}
	puts("the volume is full");
	nfs_unlink(nfs, PLACE);
	exit(0);
}

static void on_alarm(int number)
{
	static const char text[] = "the server did not respond within 8 s\n";

	(void)number;
	_exit(write(STDERR_FILENO, text, sizeof text - 1) < 0 ? 2 : 1);
}

int main(void)
{
	struct nfsfh *file;
	char written[32], found[sizeof written] = {0};
	int length = snprintf(written, sizeof written, "%ld-%ld", (long)time(NULL), (long)getpid());

	signal(SIGALRM, on_alarm);
	alarm(LIMIT_S);
	nfs = nfs_init_context();
	if (!nfs || nfs_set_version(nfs, NFS_V4) < 0) {
		fputs("no NFSv4 client\n", stderr);
		return 1;
	}
	/* One name, so that the server keeps the state of one client and not of each check. */
	nfs4_set_client_name(nfs, "imageserver.nfs ready");
	require(nfs_mount(nfs, "127.0.0.1", "/images"), 0, "mount");
	require_stored(nfs_open(nfs, PLACE, O_CREAT | O_TRUNC | O_WRONLY, &file), 0, "create");
	require_stored(nfs_write(nfs, file, length, written), length, "write");
	require_stored(nfs_fsync(nfs, file), 0, "fsync");
	require_stored(nfs_close(nfs, file), 0, "close");
	require(nfs_open(nfs, PLACE, O_RDONLY, &file), 0, "open");
	require(nfs_read(nfs, file, sizeof found, found), length, "read");
	require(nfs_close(nfs, file), 0, "close");
	require(nfs_unlink(nfs, PLACE), 0, "remove");
	if (memcmp(written, found, length) != 0) {
		fputs("read: not what was written\n", stderr);
		return 1;
	}
	return 0;
}
