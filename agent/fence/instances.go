package fence

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

// getInstance answers what to start. It holds an instance back that crashed
// too often, and waits while no controller answers.
func (f *Fence) getInstance(w http.ResponseWriter, r *http.Request, c Container) error {
	ctx := r.Context()
	f.begun(c)
	f.table.rewind(c)
	f.prefetch(c)
	for {
		wait := f.table.held(c)
		if wait <= 0 {
			break
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	spec, err := f.spec(ctx, c)
	if err != nil {
		if ctx.Err() == nil {
			f.observe(c, -1) // the launcher says why it ends
			f.cell(c, "Instance %s cannot be started: %s", c.AllocID, err)
		}
		return err
	}
	f.observe(c, spec.LogRateBytes)
	return answer(w, instance.Launch{
		Spec: spec, InstanceGUID: c.AllocID, Index: c.Index, Host: f.cfg.Address, Port: c.HostPort,
		InternalIP: c.IP, StopBound: f.cfg.Timing.Withdraw, Grace: f.cfg.Timing.Grace,
	})
}

// spec returns what a container is started from. While controllers are away
// it tries on, until ctx ends.
func (f *Fence) spec(ctx context.Context, c Container) (instance.Spec, error) {
	var spec instance.Spec
	err := f.persist(ctx, c, "no controller answers; waiting for what to start", func() (err error) {
		spec, err = f.specs.get(ctx, keyOf(c), func(ctx context.Context) (instance.Spec, error) {
			return f.cfg.Controllers.Instance(ctx, c.AllocID, c.Kind, c.Process, c.Version)
		})
		return err
	})
	return spec, err
}

// getDroplet streams the droplet, gzip as it was made, verified.
func (f *Fence) getDroplet(w http.ResponseWriter, r *http.Request, c Container) error {
	ctx := r.Context()
	spec, err := f.spec(ctx, c)
	if err != nil {
		return err
	}
	var droplet io.ReadSeekCloser
	var size int64
	err = f.persist(ctx, c, "the droplet cannot be had; trying on", func() error {
		file, err := f.blobs.open(ctx, spec.Droplet, f.fetcher(spec.Droplet.Digest))
		if err != nil {
			return err
		}
		droplet = file
		info, err := file.Stat()
		if err == nil {
			size = info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	defer droplet.Close()
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(w, droplet); err != nil {
		return errBegun
	}
	return nil
}

func (f *Fence) fetcher(digest string) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		body, _, err := f.cfg.Controllers.Blob(ctx, digest, "")
		return body, err
	}
}

// prefetch begins to fetch what a container will ask for as soon as its
// launcher runs. What fails is tried again when it does.
func (f *Fence) prefetch(c Container) {
	if c.Kind == instance.KindStaging || time.Until(f.table.retry(c.AllocID)) > time.Minute {
		return
	}
	f.spawn(downloadWithin, func(ctx context.Context) {
		spec, err := f.specs.get(ctx, keyOf(c), func(ctx context.Context) (instance.Spec, error) {
			return f.cfg.Controllers.Instance(ctx, c.AllocID, c.Kind, c.Process, c.Version)
		})
		if err != nil {
			return
		}
		file, err := f.blobs.open(ctx, spec.Droplet, f.fetcher(spec.Droplet.Digest))
		if err == nil {
			file.Close()
		}
	})
}

// postStarted notes that the app's process runs: checks begin.
func (f *Fence) postStarted(w http.ResponseWriter, r *http.Request, c Container) error {
	spec, err := f.spec(r.Context(), c)
	if err != nil {
		return err
	}
	f.check(c, spec)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// unconfirmed is how long the feed gets to reach a router that could not be
// told directly.
const unconfirmed = time.Second

// postStopping takes an instance out of the routes and answers when routers
// have let it go, or had their time.
func (f *Fence) postStopping(w http.ResponseWriter, r *http.Request, c Container) error {
	status, ok := f.table.stop(c)
	if ok && status.Address != "" && f.cfg.Routers != nil {
		ctx, cancel := context.WithTimeout(r.Context(), f.cfg.Timing.Withdraw)
		defer cancel()
		err := f.cfg.Routers.Withdraw(ctx, routing.Withdrawal{AllocID: status.AllocID, Address: status.Address, Started: status.StartedAt()})
		if err != nil {
			f.cfg.Logger.Warn("not every router confirmed that an instance is out", "alloc", status.AllocID, "error", err)
			_ = sleep(ctx, unconfirmed) // at most the bound
		}
	}
	if ok && status.State == instance.Stopping {
		f.cell(c, "Cell %s stopping instance %s", f.cfg.Node, c.AllocID)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// postOOM notes that the kernel killed a process of the app for its memory. The
// engine's own event comes after the container's end at times, or not at all.
func (f *Fence) postOOM(w http.ResponseWriter, _ *http.Request, c Container) error {
	f.killed(c.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// getCertificates answers the authorities that containers trust: the node's
// and the cluster's.
func (f *Fence) getCertificates(w http.ResponseWriter, r *http.Request, c Container) error {
	pem, err := f.cfg.Certificates()
	if err != nil {
		return err
	}
	var more string
	if c.Kind == instance.KindStaging {
		spec, err := f.build(r.Context(), c)
		if err != nil {
			return err
		}
		more = spec.Certificates
	} else {
		spec, err := f.spec(r.Context(), c)
		if err != nil {
			return err
		}
		more = spec.Certificates
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Write(pem)
	io.WriteString(w, "\n"+more)
	return nil
}
