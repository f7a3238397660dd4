package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// check starts the checks of a container whose app runs, once.
func (f *Fence) check(c Container, spec instance.Spec) {
	ctx, cancel := context.WithCancel(f.base)
	if !f.table.begin(c, cancel) {
		cancel()
		return
	}
	f.spawn(0, func(context.Context) {
		defer cancel()
		f.monitor(ctx, c, spec)
	})
}

// monitor checks one container until ctx ends: first that it comes up, then
// that it lives and whether it is ready. A task is not checked.
func (f *Fence) monitor(ctx context.Context, c Container, spec instance.Spec) {
	if c.Kind == instance.KindTask {
		f.table.running(c)
		return
	}
	health := f.probe(c, spec.Health)
	if reason := f.awaitStart(ctx, c, health); reason != "" {
		f.giveUp(ctx, c, reason)
		return
	}
	if ctx.Err() != nil || !f.table.running(c) {
		return
	}
	ready := f.probe(c, spec.Readiness)
	adopted := c.started.Before(f.began)
	if ready.kind == instance.CheckProcess {
		f.table.setReady(c, true)
		if !adopted { // else its log says so already
			f.cell(c, "Container became healthy")
		}
	} else {
		if !adopted {
			f.cell(c, "Container became healthy, waiting for its readiness check")
		}
		f.spawn(0, func(context.Context) { f.watchReadiness(ctx, c, ready) })
	}
	if health.kind == instance.CheckProcess {
		return // its exit ends the container
	}
	f.watchLiveness(ctx, c, health)
}

// awaitStart polls until the first success. It returns why there was none, or
// "".
func (f *Fence) awaitStart(ctx context.Context, c Container, p probe) string {
	if p.kind == instance.CheckProcess {
		return ""
	}
	began := time.Now()
	for pause := f.cfg.Timing.PollMin; ; pause = min(pause*13/10+1, f.cfg.Timing.PollMax) {
		err := p.try(ctx)
		if err == nil || ctx.Err() != nil {
			return ""
		}
		if time.Since(began) >= p.timeout {
			reason := fmt.Sprintf("did not come up within %s: %s", p.timeout, err)
			if errors.Is(err, errNobodyListens) {
				reason += elsewhere(c.pid, instance.ContainerPort)
			}
			return reason
		}
		if sleep(ctx, pause) != nil {
			return ""
		}
	}
}

// watchLiveness stops the container at the first failure, as Cloud Foundry
// does.
func (f *Fence) watchLiveness(ctx context.Context, c Container, p probe) {
	for sleep(ctx, p.interval) == nil {
		if err := p.try(ctx); err != nil && ctx.Err() == nil {
			f.table.setReady(c, false)
			if sleep(ctx, f.cfg.Timing.PollMax) != nil {
				return // it had ended by itself, which says more
			}
			f.giveUp(ctx, c, "became unhealthy: "+err.Error())
			return
		}
	}
}

// watchReadiness puts the instance into the routes and takes it out. It never
// stops it.
func (f *Fence) watchReadiness(ctx context.Context, c Container, p probe) {
	for {
		err := p.try(ctx)
		if ctx.Err() != nil {
			return
		}
		if f.table.setReady(c, err == nil) {
			if err == nil {
				f.cell(c, "Container became ready")
			} else {
				f.cell(c, "Container is not ready, it gets no requests: %s", err)
			}
		}
		pause := p.interval
		if err != nil {
			pause = min(pause, f.cfg.Timing.PollMax)
		}
		if sleep(ctx, pause) != nil {
			return
		}
	}
}

// giveUp stops a container for a reason; Nomad starts it again. It counts as
// a crash.
func (f *Fence) giveUp(ctx context.Context, c Container, reason string) {
	if ctx.Err() != nil {
		return
	}
	if !f.table.fail(c.ID, reason) {
		return
	}
	f.cell(c, "Instance %s %s", c.AllocID, reason)
	f.spawn(f.stopBound()+callWithin, func(ctx context.Context) { f.stopContainer(ctx, c) })
}

// stopBound is how long the launcher may take to end its app.
func (f *Fence) stopBound() time.Duration {
	return f.cfg.Timing.Withdraw + f.cfg.Timing.Grace + 5*time.Second
}

func (f *Fence) stopContainer(ctx context.Context, c Container) {
	err := f.cfg.Engine.stop(ctx, c.ID, f.stopBound())
	if err != nil && !errors.Is(err, errGone) && ctx.Err() == nil {
		f.cfg.Logger.Error("stopping a container", "container", c.ID, "error", err)
	}
}

func (f *Fence) killContainer(ctx context.Context, c Container) {
	err := f.cfg.Engine.kill(ctx, c.ID)
	if err != nil && !errors.Is(err, errGone) && ctx.Err() == nil {
		f.cfg.Logger.Error("killing a container", "container", c.ID, "error", err)
	}
}

// probe is one way of asking an app. Its times are never zero.
type probe struct {
	kind, address, url            string
	timeout, invocation, interval time.Duration
}

// probe says how an app is asked: at its container's own address, because
// Docker's proxy accepts on the published port before the app listens.
func (f *Fence) probe(c Container, check instance.Check) probe {
	t := f.cfg.Timing
	p := probe{
		kind:       cmp.Or(check.Type, instance.CheckProcess),
		address:    net.JoinHostPort(c.IP, strconv.Itoa(instance.ContainerPort)),
		timeout:    cmp.Or(check.Timeout, t.StartTimeout),
		invocation: cmp.Or(check.InvocationTimeout, t.Invocation),
		interval:   cmp.Or(check.Interval, t.Interval),
	}
	p.url = "http://" + p.address + "/" + strings.TrimPrefix(check.Endpoint, "/")
	return p
}

// errNobodyListens is of checks that found nobody at the app's port.
var errNobodyListens = fmt.Errorf("nothing listens on port %d", instance.ContainerPort)

// try asks once.
func (p probe) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.invocation)
	defer cancel()
	if p.kind == instance.CheckHTTP {
		return p.get(ctx)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return errNobodyListens
	}
	conn.Close()
	return nil
}

// probing makes no connection twice and follows no redirect: the answer of
// the endpoint itself counts.
var probing = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (p probe) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "stackato-health-check")
	resp, err := probing.Do(req)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return errNobodyListens
	}
	if err != nil {
		return fmt.Errorf("GET %s: no answer within %s", req.URL.Path, p.invocation)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // only the status counts
	if resp.StatusCode != http.StatusOK {
		// Not resp.Status: its words are the app's, and end in events and logs.
		status := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
		return fmt.Errorf("GET %s answered %s, not 200", req.URL.Path, status)
	}
	return nil
}
