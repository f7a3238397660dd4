package fence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/wire/rpcerr"
)

// peer is the process at the other end of the socket, as the kernel says.
type peer struct {
	pid, uid int
	err      error

	mu    sync.Mutex
	known *Container // once it was identified
}

type peerKey struct{}

// withPeer keeps in a connection's context who connected. The kernel recorded
// it at connect(2): a descriptor that is passed on stays the caller's.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(conn))
}

func peerOf(conn net.Conn) *peer {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return &peer{err: errors.New("not a unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return &peer{err: err}
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return &peer{err: err}
	}
	return &peer{pid: int(cred.Pid), uid: int(cred.Uid)}
}

var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// containerOf reads the ID of a container out of /proc/<pid>/cgroup. With
// cgroup v1 there is a line for each hierarchy, with v2 one; the path ends
// with the ID, alone or as docker-<ID>.scope. Where nodes are containers
// themselves the path begins with the outer one's, so the last ID counts.
func containerOf(cgroup io.Reader) (string, error) {
	found := ""
	lines := bufio.NewScanner(io.LimitReader(cgroup, 64<<10))
	for lines.Scan() {
		ids := containerID.FindAllString(lines.Text(), -1)
		if len(ids) == 0 {
			continue
		}
		id := ids[len(ids)-1]
		if found != "" && id != found {
			return "", fmt.Errorf("cgroups of two containers, %.12s and %.12s", found, id)
		}
		found = id
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if found == "" {
		return "", errors.New("not in a container's cgroup")
	}
	return found, nil
}

// identify finds the container whose first process is at the other end. Only
// that one is served: neither what else runs in the container nor a process
// that got the number of a dead one.
func (f *Fence) identify(ctx context.Context) (Container, error) {
	p, ok := ctx.Value(peerKey{}).(*peer)
	if !ok {
		p = &peer{err: errors.New("no peer")}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return *p.known, nil // a connection does not change hands
	}
	c, err := f.identifyPeer(ctx, p)
	if err == nil {
		p.known = &c
	}
	return c, err
}

func (f *Fence) identifyPeer(ctx context.Context, p *peer) (Container, error) {
	denied := func(format string, args ...any) (Container, error) {
		return Container{}, rpcerr.New(rpcerr.Unauthenticated, "who calls is not known: "+format, args...)
	}
	if p.err != nil {
		return denied("%w", p.err)
	}
	if p.uid != 0 {
		return denied("user %d, not 0", p.uid)
	}
	cgroup, err := os.Open(fmt.Sprintf("/proc/%d/cgroup", p.pid))
	if err != nil {
		return denied("%w", err)
	}
	defer cgroup.Close()
	id, err := containerOf(cgroup)
	if err != nil {
		return denied("process %d: %w", p.pid, err)
	}
	return f.firstProcess(ctx, id, p.pid)
}

// firstProcess returns the container once the engine says that pid is its
// first process. A launcher can be quicker than the engine's own book.
func (f *Fence) firstProcess(ctx context.Context, id string, pid int) (Container, error) {
	for attempt := 0; ; attempt++ {
		c, err := f.container(ctx, id)
		switch {
		case errors.Is(err, errGone), errors.Is(err, errNotOurs):
			return Container{}, rpcerr.New(rpcerr.Unauthenticated, "container %.12s: %w", id, err)
		case err != nil:
			return Container{}, rpcerr.New(rpcerr.Unavailable, "container %.12s: %w", id, err)
		case c.running && c.pid == pid:
			return c, nil
		case c.running || attempt == 50:
			return Container{}, rpcerr.New(rpcerr.Unauthenticated, "process %d is not the first of container %.12s", pid, id)
		}
		select {
		case <-ctx.Done():
			return Container{}, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// certificateFiles are where systems keep their bundle of authorities.
var certificateFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian
	"/etc/pki/tls/certs/ca-bundle.crt",   // Red Hat
	"/etc/ssl/cert.pem",
}

func systemCertificates() ([]byte, error) {
	for _, name := range certificateFiles {
		if pem, err := os.ReadFile(name); err == nil {
			return pem, nil
		}
	}
	return nil, fmt.Errorf("no bundle of certificate authorities: install ca-certificates (looked at %s)", strings.Join(certificateFiles, ", "))
}
