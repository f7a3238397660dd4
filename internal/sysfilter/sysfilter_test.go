package sysfilter_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/internal/sysfilter"
)

// asChild makes this program try the calls: a filter is for ever.
const asChild = "SYSFILTER_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
		os.Exit(m.Run())
	case "filtered":
		started := make(chan struct{})
		go func() { // a thread that was there before
			runtime.LockOSThread()
			close(started)
			select {}
		}()
		<-started
		if err := sysfilter.Apply(); err != nil {
			fmt.Println(err)
		}
	}
	try()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stdout = []string{asChild + "=child"}, os.Stdout
	if os.Getenv(asChild) == "filtered" {
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
		}
	}
}

func try() {
	var params [120]byte
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	fmt.Println("io_uring:", errno)
	_, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	fmt.Println("vsock:", err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	fmt.Println("inet:", err)
}

func TestApply(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("nothing is filtered on " + runtime.GOARCH)
	}
	run := func(how string) string {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{asChild + "=" + how}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	const refused = "io_uring: function not implemented\nvsock: address family not supported by protocol\ninet: <nil>\n"
	if got := run("filtered"); got != refused+refused { // itself and its child
		t.Errorf("filtered:\n%s", got)
	}
	if open := run("free"); !strings.Contains(open, "inet: <nil>") || open == refused {
		t.Errorf("unfiltered: %q, so nothing is proved", open)
	}
}
