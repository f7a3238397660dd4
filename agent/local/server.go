package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// DefaultSocket is where the agent listens and kato looks, as in
	// docs/operator/ports-and-files.md.
	DefaultSocket = "/var/lib/stackato/run/agent.sock"
	// Group is the group whose members may use the local API.
	Group = "stackato"
	// maxPath is the longest path of a unix socket on Linux, in bytes.
	maxPath = 107
	// stopGrace is how long requests may go on after the server is told to
	// stop.
	stopGrace = 5 * time.Second
)

// Listener is a unix socket that only its owners can reach. Close removes it.
type Listener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

// Listen makes the socket at path, with its directory: mode 0660 and group
// stackato if that group exists, else 0600. A socket that is left over from
// an agent that died is replaced; one that answers is an error. The socket
// appears with its final permissions, never wider for a moment.
func Listen(path string) (*Listener, error) {
	if err := checkStale(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	defer os.RemoveAll(tmp)
	hidden := filepath.Join(tmp, "s")
	if max(len(path), len(hidden)) > maxPath {
		return nil, fmt.Errorf("local API: %s is too long for a socket: at most about %d bytes", path, maxPath-len(".s0123456789"))
	}
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	ul.SetUnlinkOnClose(false)
	l := &Listener{UnixListener: ul, path: path}
	if err := l.publish(hidden); err != nil {
		ul.Close()
		return nil, fmt.Errorf("local API socket %s: %w", path, err)
	}
	return l, nil
}

// publish sets owner and mode of the hidden socket and moves it into place.
func (l *Listener) publish(hidden string) error {
	mode := fs.FileMode(0o600)
	if g, err := user.LookupGroup(Group); err == nil && os.Geteuid() == 0 {
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("group %s: %w", Group, err)
		}
		if err := os.Lchown(hidden, 0, gid); err != nil {
			return err
		}
		mode = 0o660
	}
	if err := os.Chmod(hidden, mode); err != nil {
		return err
	}
	info, err := os.Lstat(hidden)
	if err != nil {
		return err
	}
	l.info = info
	return os.Rename(hidden, l.path)
}

// Close stops listening and removes the socket, unless another one took its
// place.
func (l *Listener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path) // a left-over is replaced at the next start
	}
	return l.UnixListener.Close()
}

// checkStale refuses a path where another agent answers, or that is no socket.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("local API: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("local API: %s is in the way and not a socket: move it away", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("local API: another agent answers on %s: stop it first", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local API: cannot tell whether an agent answers on %s: %w", path, err)
	}
	return nil
}

// Serve serves h on l until ctx is done, then lets running requests end for
// up to 5 s, cancels them, closes l and returns nil. Any other end is an
// error. h is made by [NewHandler].
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return context.WithValue(life, baseKey{}, life) },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("local API: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(life, stopGrace)
	defer cancel()
	if srv.Shutdown(grace) != nil { // requests still run: end them
		end()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
	}
	<-failed
	return nil
}
