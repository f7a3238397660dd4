package fence

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/wire/instance"
)

// follow keeps the table what the engine says, also over the engine's own
// restarts. It ends with ctx only.
func (f *Fence) follow(ctx context.Context) error {
	pause := f.pauses()
	away := false
	for {
		err := f.followOnce(ctx, func() {
			if away {
				f.cfg.Logger.Info("the Docker Engine answers again")
			}
			away = false
			pause.reset()
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !away {
			f.cfg.Logger.Error("following the Docker Engine", "error", err)
		}
		away = true
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// followOnce lists, then handles events until the engine breaks off. Events
// are asked for from before the list, so that none is lost between the two.
func (f *Fence) followOnce(ctx context.Context, synced func()) error {
	since := time.Now()
	if err := f.resync(ctx); err != nil {
		return err
	}
	synced()
	waiting, stop := context.WithCancel(ctx)
	var adopting sync.WaitGroup
	adopting.Go(func() { // beside the events: the end of one that is waited for is among them
		f.awaitAdopted(waiting)
		if waiting.Err() == nil {
			f.table.ready()
		}
	})
	err := f.cfg.Engine.events(ctx, since, func(ev event) { f.handle(ctx, ev) })
	stop()
	adopting.Wait()
	return err
}

// awaitAdopted returns when no instance is about to be ready any more, or after
// a while; once the first snapshot is out at once. It waits for instances that ran
// before fence did: told as starting, or as not ready, they would lose their
// routes for a moment.
func (f *Fence) awaitAdopted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timing.Adopt)
	defer cancel()
	for !f.table.isListed() && f.table.unsettled() {
		if sleep(ctx, f.cfg.Timing.PollMin) != nil {
			return
		}
	}
}

// resync compares the table with what the engine has. What is believed to run
// is noted before the engine is asked: a container that starts in between is
// in neither.
func (f *Fence) resync(ctx context.Context) error {
	alive, staging := f.table.alive(), f.staging()
	list, err := f.containers(ctx)
	if err != nil {
		return err
	}
	present := map[string]Container{}
	for _, c := range list {
		present[c.ID] = c
	}
	for _, c := range staging {
		if now, ok := present[c.ID]; !ok || !now.running {
			f.unobserve(c)
		}
	}
	for _, c := range alive {
		if now, ok := present[c.ID]; !ok {
			f.ended(c.ID, unknownStatus, false)
		} else if !now.running {
			f.ended(c.ID, now.exitCode, now.oom)
		}
	}
	for _, c := range list {
		if c.running {
			f.adopt(c)
		}
	}
	return nil
}

func (f *Fence) handle(ctx context.Context, ev event) {
	id := ev.container.ID
	switch ev.action {
	case "create":
		f.spawn(callWithin, func(ctx context.Context) {
			if c, err := f.container(ctx, id); err == nil {
				f.prefetch(c)
			}
		})
	case "start":
		c, err := f.container(ctx, id)
		if err != nil {
			if !errors.Is(err, errGone) && !errors.Is(err, errNotOurs) {
				f.cfg.Logger.Warn("looking at a started container", "container", id, "error", err)
			}
			return
		}
		f.begun(c) // one that has ended already: its end is the next event
	case "oom":
		f.killed(id)
		if f.observed(id) && ev.container.Kind == instance.KindStaging {
			f.cfg.Log(ev.container.AppGUID, "STG", "0", "The memory limit of staging was reached; a process was killed.")
		}
	case "die":
		f.ended(id, ev.exitCode, false)
		f.unobserve(ev.container)
	}
}

// killed notes that memory was full in a container, also one that has ended.
func (f *Fence) killed(id string) {
	if c, late := f.table.killed(id); late {
		f.cell(c, "Instance %s had ended for this: %s", c.AllocID, outOfMemory)
	}
}

// begun notes a container that was just started. The launcher's own request
// can come first.
func (f *Fence) begun(c Container) {
	if c.Kind == instance.KindStaging {
		f.observe(c, -1)
		return
	}
	if f.table.started(c) {
		f.cell(c, "Cell %s created a container for instance %s", f.cfg.Node, c.AllocID)
	}
}

// observe tells the observer of a container, once: as soon as it is known how
// much log a second is kept. Before that its app writes nothing.
func (f *Fence) observe(c Container, logRate int64) {
	c.LogRateBytes = logRate
	f.mu.Lock()
	known := f.observes[c.ID]
	f.observes[c.ID] = true
	f.mu.Unlock()
	if !known && f.cfg.Observer != nil {
		f.cfg.Observer.Started(c)
	}
}

func (f *Fence) observed(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.observes[id]
}

// unobserve forgets a container that ended.
func (f *Fence) unobserve(c Container) {
	f.mu.Lock()
	known := f.observes[c.ID]
	delete(f.observes, c.ID)
	delete(f.builds, c.ID)
	f.mu.Unlock()
	if known && f.cfg.Observer != nil {
		f.cfg.Observer.Ended(c)
	}
}

// adopt notes a container that ran before fence did. Its app was started
// already, unless its launcher asks again.
func (f *Fence) adopt(c Container) {
	if c.Kind == instance.KindStaging {
		f.observe(c, -1)
		return
	}
	if !f.table.started(c) {
		return
	}
	if f.table.held(c) > 0 {
		return // its launcher will ask
	}
	f.spawn(0, func(ctx context.Context) {
		spec, err := f.spec(ctx, c)
		if err == nil {
			f.observe(c, spec.LogRateBytes)
			f.check(c, spec)
		} else if ctx.Err() == nil {
			f.cfg.Logger.Warn("an instance that was found running is not checked", "alloc", c.AllocID, "error", err)
		}
	})
}

// ended notes the end of a container.
func (f *Fence) ended(id string, exitCode int, oom bool) {
	end, ok := f.table.died(id, exitCode, oom)
	if !ok {
		return
	}
	c := end.container
	f.observe(c, -1) // if it ended before it asked: its output says why
	f.unobserve(c)
	switch {
	case end.crashed:
		f.cell(c, "Instance %s crashed: %s", c.AllocID, end.status.Reason)
		if wait := end.status.Retry.Sub(f.cfg.Now()); wait > 0 {
			f.cell(c, "Crashed %d times in a row: the next start waits %s", end.status.Crashes, wait.Round(time.Second))
		}
		f.saveCrashes()
	case c.Kind == instance.KindTask:
		f.cell(c, "Task ended: %s", end.status.Reason)
	default:
		f.cell(c, "Cell %s stopped instance %s", f.cfg.Node, c.AllocID)
	}
}

func (f *Fence) crashFile() string { return filepath.Join(f.cfg.Dir, "crashes.json") }

// saveCrashes keeps the past of instances over restarts of the agent: they
// would all begin anew at once. Failing to is not worth stopping for.
func (f *Fence) saveCrashes() {
	data, err := json.Marshal(f.table.past())
	if err == nil {
		err = atomicfile.Write(f.crashFile(), data, 0o600)
	}
	if err != nil {
		f.cfg.Logger.Error("saving what crashed", "error", err)
	}
}

// loadCrashes reads what an earlier run saved. A broken file is no reason not
// to start: it only makes instances start earlier.
func (f *Fence) loadCrashes() error {
	data, err := os.ReadFile(f.crashFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	past := map[string]crashes{}
	if err := json.Unmarshal(data, &past); err != nil {
		f.cfg.Logger.Warn("what crashed is forgotten: the file cannot be read", "file", f.crashFile(), "error", err)
		return nil
	}
	f.table.crashes = past
	return nil
}
