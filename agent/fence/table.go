package fence

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// table holds every instance and task of the node. It is what watchers are
// told; nobody else writes instance states. Its methods never block and take
// effects (log lines, stops) to their caller as return values.
type table struct {
	node, address string
	schedule      Schedule
	now           func() time.Time

	mu       sync.Mutex
	byAlloc  map[string]*entry
	watchers map[*watcher]struct{}
	crashes  map[string]crashes // by allocation, also of those that are gone
	listed   chan struct{}      // closed once the engine was asked what runs
	once     sync.Once
	images   *[]string // that are verified; nil: not known yet
}

// entry is one allocation. Its container changes with every restart.
type entry struct {
	status    instance.Status
	container Container
	alive     bool
	failing   string // why fence itself is stopping the container
	stopping  bool   // told to stop, by Nomad
	oom       bool
	checked   bool      // checks have begun for this container
	ended     time.Time // of the last container
	cancel    func()    // ends the checks
}

// crashes is the past of an allocation.
type crashes struct {
	Count int       `json:"count"` // in a row
	Last  time.Time `json:"last"`
	Retry time.Time `json:"retry"` // not started again before
	Why   string    `json:"why"`   // the last one, in words
}

func newTable(cfg Config) *table {
	return &table{
		node: cfg.Node, address: cfg.Address, schedule: cfg.Schedule, now: cfg.Now,
		byAlloc: map[string]*entry{}, watchers: map[*watcher]struct{}{}, crashes: map[string]crashes{}, listed: make(chan struct{}),
	}
}

// ready says that the table knows all that runs: snapshots may go out.
func (t *table) ready() { t.once.Do(func() { close(t.listed) }) }

func (t *table) isListed() bool {
	select {
	case <-t.listed:
		return true
	default:
		return false
	}
}

// started notes a container that was started. It may be called again for the
// same one; it reports whether it is new.
func (t *table) started(c Container) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byAlloc[c.AllocID]
	if e != nil && (e.container.ID == c.ID || c.created.Before(e.container.created)) {
		return false // known, or the news is late
	}
	if e != nil {
		e.stopChecks()
	}
	past := t.crashes[c.AllocID]
	e = &entry{container: c, alive: true, status: instance.Status{
		AllocID: c.AllocID, Node: t.node, AppGUID: c.AppGUID, ProcessGUID: c.Process, ProcessType: c.Type, Version: c.Version,
		Index: c.Index, Address: c.hostAddress(t.address), Started: c.started, Crashes: past.Count,
	}}
	t.byAlloc[c.AllocID] = e
	if t.now().Before(past.Retry) {
		e.status.Retry, e.status.Reason = past.Retry, past.Why+"; crashed too often, waits"
		t.move(e, instance.Crashed)
	} else {
		t.move(e, instance.Starting)
	}
	return true
}

// held returns how long the instance in a container must wait before it may
// begin. When it need not any more its state becomes Starting.
func (t *table) held(c Container) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current(c)
	if e == nil {
		return 0
	}
	if wait := t.crashes[c.AllocID].Retry.Sub(t.now()); wait > 0 {
		return wait
	}
	if e.status.State == instance.Crashed {
		e.status.Retry, e.status.Reason = time.Time{}, ""
		t.move(e, instance.Starting)
	}
	return 0
}

// unknownStatus is the exit status of a container that was removed while the
// engine could not be asked.
const unknownStatus = -1

// died notes the end of a container and says what it was.
func (t *table) died(id string, exitCode int, oom bool) (end ending, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byContainer(id)
	if e == nil || !e.alive {
		return ending{}, false
	}
	e.alive, e.ended = false, t.now()
	e.stopChecks()
	e.oom = e.oom || oom
	s := &e.status
	s.Ready, s.ExitCode, s.OOM = false, max(exitCode, 0), e.oom
	end = ending{container: e.container}
	switch {
	case e.container.Kind == instance.KindTask:
		s.Reason = e.why(exitCode)
		t.move(e, instance.Gone)
	case e.stopping && e.failing == "":
		t.move(e, instance.Gone)
		delete(t.byAlloc, s.AllocID)
	default:
		end.crashed = true
		s.Reason = e.why(exitCode)
		past := t.crash(e)
		s.Crashes, s.Retry = past.Count, past.Retry
		t.move(e, instance.Crashed)
	}
	end.status = *s
	return end, true
}

// ending says how a container ended.
type ending struct {
	container Container
	status    instance.Status
	crashed   bool
}

const outOfMemory = "out of memory"

// why says in words how the container ended.
func (e *entry) why(exitCode int) string {
	switch {
	case e.oom:
		return outOfMemory
	case e.failing != "":
		return e.failing
	case exitCode == unknownStatus:
		return "ended, nobody knows how"
	case exitCode > 128 && exitCode < 128+65:
		return fmt.Sprintf("ended by signal %d (exit status %d)", exitCode-128, exitCode)
	}
	return fmt.Sprintf("exited with status %d", exitCode)
}

// crash counts, and says when the next start may be.
func (t *table) crash(e *entry) crashes {
	now := t.now()
	past := t.crashes[e.status.AllocID]
	// What was waited in the container does not count as having run well.
	if e.status.State != instance.Crashed && now.Sub(latest(e.status.Started, past.Retry)) >= t.schedule.Reset {
		past = crashes{}
	}
	past.Count++
	past.Last, past.Retry, past.Why = now, now.Add(t.schedule.wait(past.Count)), e.status.Reason
	t.crashes[e.status.AllocID] = past
	return past
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wait returns how long an instance that crashed count times in a row is held
// back: Cloud Foundry's schedule.
func (s Schedule) wait(count int) time.Duration {
	if count <= s.AtOnce {
		return 0
	}
	wait := s.First
	for i := s.AtOnce + 1; i < count && wait < s.Max; i++ {
		wait *= 2
	}
	return min(wait, s.Max)
}

// lingered removes those whose container is gone for long and that Nomad did
// not start again.
func (t *table) lingered(since, tasksSince time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, e := range t.byAlloc {
		limit := since
		if e.container.Kind == instance.KindTask {
			limit = tasksSince
		}
		if e.alive || e.ended.After(limit) {
			continue
		}
		if e.status.State != instance.Gone {
			t.move(e, instance.Gone)
		}
		delete(t.byAlloc, id)
	}
	for id, c := range t.crashes {
		if latest(c.Last, c.Retry).Before(tasksSince) && t.byAlloc[id] == nil {
			delete(t.crashes, id)
		}
	}
}

// past returns a copy of what is remembered of crashes.
func (t *table) past() map[string]crashes {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.crashes)
}

// current returns the entry if c is its container and lives. The lock is held.
func (t *table) current(c Container) *entry {
	e := t.byAlloc[c.AllocID]
	if e == nil || e.container.ID != c.ID || !e.alive {
		return nil
	}
	return e
}

// byContainer finds the entry of a container. The lock is held.
func (t *table) byContainer(id string) *entry {
	for _, e := range t.byAlloc {
		if e.container.ID == id {
			return e
		}
	}
	return nil
}

// move sets a state and tells the watchers. The lock is held.
func (t *table) move(e *entry, s instance.State) {
	if e.status.State != s {
		e.status.Since = t.now()
	}
	e.status.State = s
	t.publish(e)
}

func (e *entry) stopChecks() {
	if e.cancel != nil {
		e.cancel()
		e.cancel = nil
	}
}
