/*
 * Exit with 0 if the NFS server of this container stores a file, returns it, and removes it, as an NFS client sees it.
 * Otherwise print the error. While clients reclaim after a start (the grace period), the server accepts no new file.
 * On a full volume it exits with 0 too: the server responds, and its clients can read.
 * The optional argument is the size of the file in bytes; without it 32.
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
#define BYTES 32
#define MOST_BYTES 100000000
#define PIECE 1000000
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

static void store(struct nfsfh *file, char *content, int length)
{
	for (int done = 0, count; done < length; done += count) {
		count = nfs_write(nfs, file, length - done < PIECE ? length - done : PIECE, content + done);
		require_stored(count > 0 ? 0 : count ? count : -1, 0, "write");
	}
}

/* Return the number of bytes of the file, up to the length of `content`. */
static int load(struct nfsfh *file, char *content, int length)
{
	int done = 0, count = 1;

	while (done < length && count > 0) {
		count = nfs_read(nfs, file, length - done < PIECE ? length - done : PIECE, content + done);
		require(count < 0 ? count : 0, 0, "read");
		done += count;
	}
	return done;
}

static void on_alarm(int number)
{
	static const char text[] = "the server did not respond within 8 s\n";

	(void)number;
	_exit(write(STDERR_FILENO, text, sizeof text - 1) < 0 ? 2 : 1);
}

int main(int argc, char **argv)
{
	struct nfsfh *file;
	int length = argc > 1 ? atoi(argv[1]) : BYTES;
	char *written, *found;

	if (length < 1 || length > MOST_BYTES) {
		fprintf(stderr, "the size must be 1 to %d bytes\n", MOST_BYTES);
		return 2;
	}
	written = malloc(length);
	found = malloc(length + 1); /* one more, to notice a file that is too long */
	if (!written || !found) {
		fputs("no memory\n", stderr);
		return 1;
	}
	srand((unsigned int)time(NULL) ^ (unsigned int)getpid());
	for (int at = 0; at < length; at++)
		written[at] = (char)rand();

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
	store(file, written, length);
	require_stored(nfs_fsync(nfs, file), 0, "fsync");
	require_stored(nfs_close(nfs, file), 0, "close");
	require(nfs_open(nfs, PLACE, O_RDONLY, &file), 0, "open");
	require(load(file, found, length + 1), length, "read");
	require(nfs_close(nfs, file), 0, "close");
	require(nfs_unlink(nfs, PLACE), 0, "remove");
	if (memcmp(written, found, length) != 0) {
		fputs("read: not what was written\n", stderr);
		return 1;
	}
	return 0;
}
