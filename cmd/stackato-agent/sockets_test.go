package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// store plays systemd's store of descriptors.
type store struct {
	t    *testing.T
	conn *net.UnixConn
	held map[string]*os.File
}

func newStore(t *testing.T) *store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	s := &store{t: t, conn: conn, held: map[string]*os.File{}}
	t.Cleanup(func() {
		conn.Close()
		for _, f := range s.held {
			f.Close()
		}
	})
	return s
}

// hear takes in one message.
func (s *store) hear() string {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	text, control := make([]byte, 1000), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := s.conn.ReadMsgUnix(text, control)
	if err != nil {
		s.t.Fatal(err)
	}
	_, name, _ := strings.Cut(string(text[:n]), "FDNAME=")
	switch messages, err := unix.ParseSocketControlMessage(control[:m]); {
	case err == nil && len(messages) == 1:
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			s.t.Fatal(fds, err)
		}
		s.held[name] = os.NewFile(uintptr(fds[0]), name)
	case strings.HasPrefix(string(text[:n]), "FDSTOREREMOVE=1"):
		s.held[name].Close()
		delete(s.held, name)
	}
	return string(text[:n])
}

// TestSocketsOutliveTheAgent: a connection that comes while no agent runs is
// answered by the next one, which is a process of its own.
func TestSocketsOutliveTheAgent(t *testing.T) {
	if os.Getenv("STACKATO_TEST_SECOND_AGENT") != "" {
		secondAgent(t)
		return
	}
	s := newStore(t)
	first := &sockets{held: map[string]*net.TCPListener{}}
	l, err := first.listen("router-http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.hear(); got != "FDSTORE=1\nFDNAME=router-http" || s.held["router-http"] == nil {
		t.Fatalf("systemd heard %q", got)
	}
	address := l.Addr().String()
	answered(t, l, address)

	// The first agent is gone: nothing of it holds the socket.
	l.Close()
	first.held["router-http"].Close()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal("refused while no agent runs:", err)
	}
	defer conn.Close()

	second := exec.Command(os.Args[0], "-test.run=^TestSocketsOutliveTheAgent$")
	second.Env = append(os.Environ(), "STACKATO_TEST_SECOND_AGENT="+address)
	second.ExtraFiles = []*os.File{s.held["router-http"]}
	second.Stderr = t.Output()
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.ReadAll(conn); string(got) != "hello" {
		t.Errorf("the waiting connection got %q, %v", got, err)
	}
	if err := second.Wait(); err != nil {
		t.Error(err)
	}

	// The role goes: so does the socket.
	s.hear() // the second agent's own message
	if len(s.held) != 0 {
		t.Errorf("systemd still holds %v", s.held)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
}

// secondAgent is the next agent, in a process that was started as systemd does.
func secondAgent(t *testing.T) {
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	os.Setenv("LISTEN_FDS", "1")
	os.Setenv("LISTEN_FDNAMES", "router-http")
	s := inherit(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if os.Getenv("LISTEN_FDS") != "" {
		t.Error("children would inherit the variables")
	}
	l, err := s.listen("router-http", os.Getenv("STACKATO_TEST_SECOND_AGENT"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "hello")
	conn.Close()
	l.Close()
	s.drop("router-http", "never-there")
}

func answered(t *testing.T, l net.Listener, address string) {
	t.Helper()
	go func() {
		if conn, err := l.Accept(); err == nil {
			fmt.Fprintln(conn, "hello")
			conn.Close()
		}
	}()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// TestSocketsInOneProcess: a router that is started again finds its socket, one
// that has another port does not, and without systemd all works as well.
func TestSocketsInOneProcess(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s := &sockets{held: map[string]*net.TCPListener{}}
	l, err := s.listen("a", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if l, err = s.listen("a", address); err != nil {
		t.Fatal(err)
	}
	answered(t, l, address)
	l.Close()
	if other, err := s.listen("b", address); err == nil {
		other.Close()
		t.Error("two listen on one port")
	}
	if l, err = s.listen("a", "127.0.0.2:0"); err != nil || l.Addr().String() == address {
		t.Fatal(l, err)
	}
	l.Close()
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("the old port is still open")
	}
	s.drop("a")
	if len(s.held) != 0 {
		t.Error("left", s.held)
	}
}
