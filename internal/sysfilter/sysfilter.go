// Package sysfilter takes system calls from the processes of a container that
// no app needs and that lead past its walls. It adds to the engine's own filter:
// that of older engines lets them pass.
package sysfilter

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arches are the machines whose numbers of system calls are known: by the
// kernel's name, with the first number that is not theirs.
var arches = map[string]struct{ audit, end uint32 }{
	"amd64": {unix.AUDIT_ARCH_X86_64, 0x40000000}, // from there on x32
	"arm64": {unix.AUDIT_ARCH_AARCH64, 0x40000000},
}

// Apply filters the calls of this process, all threads, and of all that it
// starts, for ever; it sets no_new_privs. What is refused looks as if the
// kernel did not have it:
//
//   - io_uring, which does past a filter what the filter forbids;
//   - sockets to the hypervisor (AF_VSOCK), which no network rule sees;
//   - calls of another machine than this program's, whose numbers are others.
//
// On a machine that it does not know, or whose kernel has no filters, it does
// nothing.
func Apply() error {
	arch, known := arches[runtime.GOARCH]
	if !known {
		return nil
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("no_new_privs: %w", errno)
	}
	filter := program(arch.audit, arch.end)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]} //nolint:gosec // a dozen
	failed, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	switch {
	case errors.Is(errno, unix.ENOSYS), errors.Is(errno, unix.EINVAL):
		return nil
	case errno != 0:
		return fmt.Errorf("filter of system calls: %w", errno)
	case failed != 0:
		return fmt.Errorf("filter of system calls: thread %d has another", failed)
	}
	return nil
}

// Offsets in what the kernel shows a filter, struct seccomp_data. The machines
// in arches are little endian: the low half of an argument comes first.
const (
	offNumber = 0
	offArch   = 4
	offArg0   = 16
)

// program is the filter.
func program(arch, end uint32) []unix.SockFilter {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		answer  = unix.BPF_RET | unix.BPF_K
	)
	refuse := func(errno unix.Errno) unix.SockFilter {
		return unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	// skip n instructions if it is not so
	unless := func(code uint16, k uint32, n uint8) unix.SockFilter {
		return unix.SockFilter{Code: code, Jf: n, K: k}
	}
	out := []unix.SockFilter{
		{Code: load, K: offArch},
		{Code: equal, Jt: 1, K: arch},
		refuse(unix.ENOSYS),
		{Code: load, K: offNumber},
		unless(atLeast, end, 1),
		refuse(unix.ENOSYS),
	}
	for _, number := range []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER} {
		out = append(out, unless(equal, number, 1), refuse(unix.ENOSYS))
	}
	return append(
		out,
		unless(equal, unix.SYS_SOCKET, 3),
		unix.SockFilter{Code: load, K: offArg0},
		unless(equal, unix.AF_VSOCK, 1),
		refuse(unix.EAFNOSUPPORT),
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	)
}
