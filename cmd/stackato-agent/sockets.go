package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// sockets keeps listening sockets open while what listens on them is replaced:
// a part of the agent by another, and, where systemd keeps its store of
// descriptors (FDSTORE in sd_notify(3)), the agent by the next one. Connections
// that come in between wait in the kernel; none is refused. It is safe for
// concurrent use.
type sockets struct {
	mu   sync.Mutex
	held map[string]*net.TCPListener // never accepts; by name
}

// firstInherited is where systemd puts descriptors; see sd_listen_fds(3).
const firstInherited = 3

// inherit takes over what systemd kept for this process. Call it once, before
// any child is started: the variables are not for children.
func inherit(log *slog.Logger) *sockets {
	s := &sockets{held: map[string]*net.TCPListener{}}
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	n, err := strconv.Atoi(count)
	if pid != strconv.Itoa(os.Getpid()) || err != nil || n < 1 || n > 64 {
		return s
	}
	list := strings.Split(names, ":")
	for i := range n {
		fd := firstInherited + i
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "inherited")
		if i < len(list) {
			if err := s.take(list[i], f); err != nil {
				log.Warn("a socket that systemd kept is of no use", "name", list[i], "err", err)
			}
		}
		f.Close()
	}
	return s
}

func (s *sockets) take(name string, f *os.File) error {
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok || s.held[name] != nil {
		return fmt.Errorf("it listens on %s", l.Addr())
	}
	s.held[name] = tcp
	return nil
}

// listen returns a listener on a TCP address: one on the socket that is held
// under this name, if it has this address. Closing it leaves that open.
func (s *sockets) listen(name, address string) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held[name]
	if held != nil && !listensOn(held, address) {
		s.forget(name)
		held = nil
	}
	if held == nil {
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // has not the limits of TCP; see router/proxy
		l, err := plain.Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, err
		}
		held = l.(*net.TCPListener)
		s.held[name] = held
		// Without systemd, or a store, the socket ends with the agent.
		_ = notifyWith("FDSTORE=1\nFDNAME="+name, held)
	}
	f, err := held.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// listensOn compares the port, and the address if one is asked for.
func listensOn(l *net.TCPListener, address string) bool {
	want, err := net.ResolveTCPAddr("tcp", address)
	have, ok := l.Addr().(*net.TCPAddr)
	if err != nil || !ok || have.Port != want.Port {
		return false
	}
	if want.IP == nil || want.IP.IsUnspecified() {
		return have.IP.IsUnspecified()
	}
	return have.IP.Equal(want.IP)
}

// drop closes what is held under the names: nobody will listen there.
func (s *sockets) drop(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.forget(name)
	}
}

func (s *sockets) forget(name string) {
	if l := s.held[name]; l != nil {
		l.Close()
		delete(s.held, name)
		notify("FDSTOREREMOVE=1\nFDNAME=" + name)
	}
}
