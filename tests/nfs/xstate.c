/*
 * Preloaded into user-mode-linux 6.1. It sets the vector registers of its processes with a buffer of fixed size, which
 * the kernel of a host whose processor has AMX refuses with EFAULT, since its own state is larger. This fills in the
 * rest: what the process has now, without AMX. Fixed in Linux 6.13.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define MOST 16384
#define PRESENT 512 /* where XSAVE keeps the bit mask of the components in use */
#define AMX ((uint64_t)3 << 17)

long ptrace(enum __ptrace_request request, ...)
{
	static long (*original)(enum __ptrace_request, ...);
	static char whole[MOST];
	va_list arguments;
	va_start(arguments, request);
	int pid = va_arg(arguments, int);
	void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!original)
		original = dlsym(RTLD_NEXT, "ptrace");
	long result = original(request, pid, address, data);
	if (result >= 0 || request != PTRACE_SETREGSET || errno != EFAULT || (uintptr_t)address != NT_X86_XSTATE)
		return result;
	struct iovec *given = data, full = {whole, MOST};
	if (given->iov_len > MOST || original(PTRACE_GETREGSET, pid, address, &full) < 0)
		return -1;
	memcpy(whole, given->iov_base, given->iov_len);
	*(uint64_t *)(whole + PRESENT) &= ~AMX;
	return original(PTRACE_SETREGSET, pid, address, &full);
}
