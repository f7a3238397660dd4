package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// endStrangers ends what scripts of a build have left running below dir. In a
// container the end of the stager, its first process, does that.
func endStrangers(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left := strangers(t, dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("processes %v do not end", left)
		}
		for _, pid := range left {
			group, err := syscall.Getpgid(pid)
			if err == nil && group != syscall.Getpgrp() {
				_ = syscall.Kill(-group, syscall.SIGKILL) // it may have ended
			}
		}
	}
}

// strangers lists the processes whose command line names dir.
func strangers(t *testing.T, dir string) []int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, name := range names {
		line, err := os.ReadFile(name) // empty for one that has ended
		if err != nil || !bytes.Contains(line, []byte(dir+"/")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}
