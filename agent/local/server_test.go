package local

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketPermissions(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := os.FileMode(0o600)
	if _, err := user.LookupGroup(Group); err == nil && os.Geteuid() == 0 {
		want = 0o660
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != want {
		t.Errorf("mode %v, %v, want %v", info.Mode(), err, want)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

// The permissions of the socket alone decide who may.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	connect := func(uid int) error {
		result := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			if err := unix.Setfsuid(uid); err != nil {
				result <- err
				return
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				result <- err
				return
			}
			defer unix.Close(fd)
			result <- unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}()
		return <-result
	}
	if err := connect(0); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := connect(65534); !errors.Is(err, os.ErrPermission) {
		t.Errorf("nobody: %v, want permission denied", err)
	}
}

func TestListenTooLongPath(t *testing.T) {
	_, err := Listen(filepath.Join(socketPath(t), strings.Repeat("a", 100)))
	if err == nil || !strings.Contains(err.Error(), "too long for a socket") {
		t.Errorf("got %v", err)
	}
}

func TestListenReplacesOnlyStaleSockets(t *testing.T) {
	path := socketPath(t)
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another agent answers") {
		t.Errorf("beside a living agent: %v", err)
	}
	// A killed agent leaves its socket behind.
	if err := first.UnixListener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the test wants a left-over: %v", err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatalf("over a left-over: %v", err)
	}
	_ = first.Close() // must not remove what is not its own
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first took the second's socket: %v", err)
	} else {
		c.Close()
	}
	second.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
}

func TestClientExplains(t *testing.T) {
	path := socketPath(t)
	_, err := NewClient(path).Info(t.Context())
	if code(err) != CodeUnavailable || !strings.Contains(wireError(err).Hint(), "is stackato-agent running?") {
		t.Errorf("no socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.UnixListener.Close()
	if _, err = NewClient(path).Info(t.Context()); code(err) != CodeUnavailable {
		t.Errorf("stale socket: %v", err)
	}
	err = NewClient(path).explain(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", os.ErrPermission)})
	if code(err) != CodeForbidden || !strings.Contains(wireError(err).Hint(), "group stackato") {
		t.Errorf("permission: %v", err)
	}
}
