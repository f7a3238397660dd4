package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/stackato/stackato/wire/instance"
)

// Labels of the containers that fence cares for.
const (
	labelAlloc   = "com.hashicorp.nomad.alloc_id" // Nomad's own
	labelKind    = "stackato.kind"                // instance.KindApp, …
	labelApp     = "stackato.app"
	labelProcess = "stackato.process" // guid of the process, task or build
	labelType    = "stackato.type"
	labelVersion = "stackato.version"
)

// mountPoint is where containers have fence's public directory.
const mountPoint = "/stackato"

// Container is a container of an app, a task or a build.
type Container struct {
	ID      string // of Docker
	AllocID string // of Nomad
	Kind    string // instance.KindApp, KindTask or KindStaging
	AppGUID string
	Process string // guid of the process, task or build
	Type    string // of the process
	Version string // of the process
	Index   int
	Image   string // ID of the image
	LogPath string // Docker's json-file, "" with another log driver

	// LogRateBytes is how many bytes of its output a second are kept, -1 for
	// any number. An Observer is told it.
	LogRateBytes int64

	IP       string // inside of the node; "" when it does not run
	HostPort int    // published for instance.ContainerPort, 0 if not

	mounted  string // the node's directory that is mounted as mountPoint
	pid      int
	running  bool
	created  time.Time
	started  time.Time
	finished time.Time
	exitCode int
	oom      bool
}

// errNotOurs says that a container carries none of the labels, or has another
// fence's directory mounted.
var errNotOurs = errors.New("not a container of an app, a task or a build on this node")

// container is the engine's, if it is this fence's.
func (f *Fence) container(ctx context.Context, id string) (Container, error) {
	c, err := f.cfg.Engine.container(ctx, id)
	if err == nil && !f.owns(c) {
		err = errNotOurs
	}
	return c, err
}

// owns reports whether a container has this fence's directory mounted: an
// engine can serve several, such as those of tests.
func (f *Fence) owns(c Container) bool {
	theirs, err := os.Stat(c.mounted)
	if err != nil {
		return false
	}
	ours, err := os.Stat(f.mounted)
	return err == nil && os.SameFile(theirs, ours)
}

// containers are the engine's that are this fence's, in the given states or
// in any.
func (f *Fence) containers(ctx context.Context, states ...string) ([]Container, error) {
	list, err := f.cfg.Engine.containers(ctx, states...)
	return slices.DeleteFunc(list, func(c Container) bool { return !f.owns(c) }), err
}

// fromLabels fills what stands in labels, those of a container or of an event
// about one.
func fromLabels(id string, labels map[string]string) (Container, error) {
	c := Container{
		ID: id, AllocID: labels[labelAlloc], Kind: labels[labelKind], AppGUID: labels[labelApp],
		Process: labels[labelProcess], Type: labels[labelType], Version: labels[labelVersion],
	}
	known := []string{instance.KindApp, instance.KindTask, instance.KindStaging}
	if !slices.Contains(known, c.Kind) || c.AllocID == "" || c.Process == "" {
		return Container{}, errNotOurs
	}
	return c, nil
}

// container looks at one. A container that is no more gives errGone, one of
// somebody else errNotOurs.
func (e *Engine) container(ctx context.Context, id string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	r, err := e.client.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, e.containerError("inspect", err)
	}
	if r.Config == nil || r.ContainerJSONBase == nil || r.State == nil {
		return Container{}, errNotOurs
	}
	c, err := fromLabels(r.ID, r.Config.Labels)
	if err != nil {
		return Container{}, err
	}
	c.Index = indexOf(r.Config.Env)
	c.Image, c.LogPath = r.Image, r.LogPath
	c.pid, c.running, c.exitCode, c.oom = r.State.Pid, r.State.Running, r.State.ExitCode, r.State.OOMKilled
	c.created, _ = time.Parse(time.RFC3339Nano, r.Created)
	c.started, _ = time.Parse(time.RFC3339Nano, r.State.StartedAt) // zero when never
	c.finished, _ = time.Parse(time.RFC3339Nano, r.State.FinishedAt)
	for _, m := range r.Mounts {
		if m.Destination == mountPoint {
			c.mounted = m.Source
		}
	}
	if n := r.NetworkSettings; n != nil {
		c.IP, c.HostPort = address(n)
	}
	return c, nil
}

func address(n *container.NetworkSettings) (ip string, port int) {
	for _, network := range n.Networks {
		if network != nil {
			ip = cmp.Or(ip, network.IPAddress)
		}
	}
	for p, bindings := range n.Ports {
		if p.Int() != instance.ContainerPort || p.Proto() != "tcp" {
			continue
		}
		for _, b := range bindings {
			if port == 0 {
				port, _ = strconv.Atoi(b.HostPort)
			}
		}
	}
	return ip, port
}

// indexOf reads the index that Nomad gives in the environment.
func indexOf(env []string) int {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "NOMAD_ALLOC_INDEX="); ok {
			i, err := strconv.Atoi(v)
			if err == nil && i >= 0 {
				return i
			}
		}
	}
	return 0
}

func (c Container) index() string { return strconv.Itoa(c.Index) }

// hostAddress is where routers reach the container, "" without a port.
func (c Container) hostAddress(node string) string {
	if c.HostPort == 0 {
		return ""
	}
	return net.JoinHostPort(node, strconv.Itoa(c.HostPort))
}

// errGone says that there is no such container any more.
var errGone = errors.New("the container is gone")

func (e *Engine) containerError(op string, err error) error {
	if errdefs.IsNotFound(err) {
		return errGone
	}
	return e.explain(op, err)
}

// containers lists all of ours, in states such as "exited" or in any.
func (e *Engine) containers(ctx context.Context, states ...string) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*callWithin)
	defer cancel()
	args := filters.NewArgs(filters.Arg("label", labelKind))
	for _, s := range states {
		args.Add("status", s)
	}
	list, err := e.client.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return nil, e.explain("list containers", err)
	}
	var out []Container
	for _, s := range list {
		c, err := e.container(ctx, s.ID)
		if errors.Is(err, errGone) || errors.Is(err, errNotOurs) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// event is one that matters: of our containers only.
type event struct {
	action    string // "create", "start", "oom", "die", "destroy"
	container Container
	exitCode  int
}

// events calls handle for each event since a time, in order, until ctx ends or
// the engine breaks off. There is no guarantee that none is lost in between:
// the caller lists after an error.
func (e *Engine) events(ctx context.Context, since time.Time, handle func(event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := filters.NewArgs(filters.Arg("type", "container"), filters.Arg("label", labelKind))
	for _, action := range []string{"create", "start", "oom", "die", "destroy"} {
		args.Add("event", action)
	}
	stamp := fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())
	messages, errs := e.client.Events(ctx, events.ListOptions{Since: stamp, Filters: args})
	for {
		select {
		case m := <-messages:
			c, err := fromLabels(m.Actor.ID, m.Actor.Attributes)
			if err != nil {
				continue
			}
			ev := event{action: string(m.Action), container: c}
			ev.exitCode, _ = strconv.Atoi(m.Actor.Attributes["exitCode"]) // only "die" has one
			handle(ev)
		case err := <-errs:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil || errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: it closed the stream of events", ErrUnreachable)
			}
			return e.explain("events", err)
		}
	}
}

// stop asks a container to end, then kills it.
func (e *Engine) stop(ctx context.Context, id string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within+callWithin)
	defer cancel()
	seconds := int(within.Round(time.Second) / time.Second)
	return e.containerError("stop", e.client.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds}))
}

// kill ends a container, also one that is paused. One that has ended is
// errGone.
func (e *Engine) kill(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	err := e.client.ContainerKill(ctx, id, "SIGKILL")
	if errdefs.IsConflict(err) { // not running
		return errGone
	}
	return e.containerError("kill", err)
}

// pause freezes a container's processes. One that has ended is errGone.
func (e *Engine) pause(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	err := e.client.ContainerPause(ctx, id)
	if errdefs.IsConflict(err) { // not running, or paused already
		return errGone
	}
	return e.containerError("pause", err)
}
