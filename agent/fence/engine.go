package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/docker/docker/client"
)

// DefaultSocket is where a Docker Engine listens.
const DefaultSocket = "/run/docker.sock"

// callWithin bounds a call whose context has no earlier deadline.
const callWithin = 5 * time.Second

// ErrUnreachable means that no Docker Engine answers. Errors that wrap it say
// why and what to do.
var ErrUnreachable = errors.New("the Docker Engine cannot be reached")

// Info describes a Docker Engine.
type Info struct {
	Version         string // of the engine, such as "20.10.24+dfsg1"
	APIVersion      string // that the two of us speak, such as "1.41"
	CgroupVersion   string // "1" or "2"
	CgroupDriver    string // "cgroupfs" or "systemd"
	StorageDriver   string // "overlay2", …
	RootDir         string // where images and containers lie
	MemoryLimit     bool   // containers can be given one
	PidsLimit       bool   // containers can be given one
	IPv4Forwarding  bool   // without it containers reach nothing
	KernelVersion   string
	OperatingSystem string
	Warnings        []string // of the engine itself
}

// Engine speaks to one Docker Engine. It may be used concurrently.
type Engine struct {
	socket    string
	client    *client.Client
	transport *http.Transport
}

// NewEngine makes a client for the engine behind a unix socket; "" is
// [DefaultSocket]. It connects to nothing: the engine may come and go. The
// version of the API is agreed on at the first call, which is what lets it
// speak to engines from 20.10 on. DOCKER_* variables have no influence.
func NewEngine(socket string) (*Engine, error) {
	socket = cmp.Or(socket, DefaultSocket)
	if !filepath.IsAbs(socket) {
		return nil, fmt.Errorf("docker socket %q is not an absolute path", socket)
	}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
	}
	c, err := client.NewClientWithOpts(
		client.WithHTTPClient(&http.Client{Transport: tr}),
		client.WithHost("unix://"+socket),
		client.WithAPIVersionNegotiation(),
	)
	if err != nil {
		return nil, fmt.Errorf("docker client for %s: %w", socket, err)
	}
	return &Engine{socket, c, tr}, nil
}

// Close closes idle connections. The engine can still be used.
func (e *Engine) Close() { e.transport.CloseIdleConnections() }

// Ping returns nil if the engine answers, else an error that wraps
// ErrUnreachable.
func (e *Engine) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	_, err := e.client.Ping(ctx)
	return e.explain("ping", err)
}

// Info asks the engine what it is.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	// A failed negotiation would go unnoticed and the newest API be spoken.
	ping, err := e.client.Ping(ctx)
	if err != nil {
		return Info{}, e.explain("ping", err)
	}
	e.client.NegotiateAPIVersionPing(ping)
	i, err := e.client.Info(ctx)
	if err != nil {
		return Info{}, e.explain("info", err)
	}
	return Info{
		Version: i.ServerVersion, APIVersion: e.client.ClientVersion(),
		CgroupVersion: cmp.Or(i.CgroupVersion, "1"), CgroupDriver: i.CgroupDriver, // engines before 20.10 know only 1
		StorageDriver: i.Driver, RootDir: i.DockerRootDir,
		MemoryLimit: i.MemoryLimit, PidsLimit: i.PidsLimit, IPv4Forwarding: i.IPv4Forwarding,
		KernelVersion: i.KernelVersion, OperatingSystem: i.OperatingSystem, Warnings: i.Warnings,
	}, nil
}

// explain says in an error what to do about it. The client's own error hides
// the cause when nothing listens, so the socket is looked at.
func (e *Engine) explain(op string, err error) error {
	if err == nil {
		return nil
	}
	wrap := func(why, remedy string) error {
		return fmt.Errorf("%w: %s: %s", ErrUnreachable, why, remedy)
	}
	const start = "start it with: systemctl start docker (or scripts/docker where no init system runs)"
	switch info, statErr := os.Stat(e.socket); {
	case errors.Is(statErr, fs.ErrNotExist):
		return wrap("there is no socket "+e.socket, start)
	case statErr == nil && info.Mode().Type() != fs.ModeSocket:
		return wrap(e.socket+" is not a socket", "remove it and "+start)
	case errors.Is(err, fs.ErrPermission) || errors.Is(statErr, fs.ErrPermission):
		return wrap("no permission for "+e.socket, "run the agent as root or in the group docker")
	case errors.Is(err, context.DeadlineExceeded):
		return wrap("no answer in time on "+e.socket, "look at the engine's log: journalctl -u docker")
	case errors.Is(err, syscall.ECONNREFUSED) || client.IsErrConnectionFailed(err):
		return wrap("nothing listens on "+e.socket, start)
	}
	return fmt.Errorf("docker: %s: %w", op, err)
}
