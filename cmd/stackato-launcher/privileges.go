package main

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropForGood takes from this process, all threads, what no child may get
// back: it sets no_new_privs and empties the ambient, inheritable and bounding
// sets. What is left is this process's own permitted set, which a child loses
// when it becomes another user.
func dropForGood() error {
	if err := onAllThreads("no_new_privs", syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return err
	}
	if err := onAllThreads("ambient set", syscall.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return err
	}
	if err := emptyInheritable(); err != nil {
		return err
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		err := onAllThreads("bounding set", syscall.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
		if errors.Is(err, syscall.EINVAL) {
			return nil // the kernel knows fewer
		}
		if errors.Is(err, syscall.EPERM) {
			return nil // without SETPCAP: no_new_privs already makes the set worthless
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func emptyInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return onAllThreads("inheritable set", syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])))
}

func onAllThreads(what string, trap, a, b uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a, b, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
