package fence

import (
	"context"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// Changes of one instance's entry, each by the container it is about: what
// comes late, about a container that is no longer current, changes nothing.

// begin notes that checks run for a container, once; cancel ends them. It
// reports false if they run already or the container is no more.
func (t *table) begin(c Container, cancel context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current(c)
	if e == nil || e.checked || e.failing != "" {
		return false
	}
	e.checked, e.cancel = true, cancel
	return true
}

// rewind forgets that checks have begun: the launcher asks (again) for what
// to start.
func (t *table) rewind(c Container) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current(c)
	if e == nil || !e.checked {
		return
	}
	e.stopChecks()
	e.checked = false
	if !e.stopping {
		e.status.Ready = false
		t.move(e, instance.Starting)
	}
}

// running notes a success of the start-up check.
func (t *table) running(c Container) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current(c)
	if e == nil || e.stopping || e.failing != "" {
		return false
	}
	t.move(e, instance.Running)
	return true
}

// unsettled reports whether an instance's checks may soon say that it is ready.
func (t *table) unsettled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.byAlloc {
		if !e.alive || e.stopping || e.failing != "" {
			continue
		}
		if s := e.status; s.State == instance.Starting || s.State == instance.Running && !s.Ready && e.container.Kind == instance.KindApp {
			return true
		}
	}
	return false
}

// setReady puts a running instance into the routes or takes it out. It reports
// whether that is a change.
func (t *table) setReady(c Container, ready bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current(c)
	if e == nil || e.stopping || e.failing != "" || e.status.State != instance.Running || e.status.Ready == ready {
		return false
	}
	e.status.Ready = ready
	t.publish(e)
	return true
}

// fail notes why fence is about to stop a container. The first reason counts;
// only who gave it may act on it.
func (t *table) fail(id, reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byContainer(id)
	if e == nil || !e.alive || e.stopping || e.failing != "" {
		return false
	}
	e.failing = reason
	e.status.Reason, e.status.Ready = reason, false
	e.stopChecks()
	t.publish(e)
	return true
}

// stop notes that an instance is told to end. It returns its last status.
func (t *table) stop(c Container) (instance.Status, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current(c)
	if e == nil {
		return instance.Status{}, false
	}
	e.stopChecks()
	e.status.Ready = false
	if e.failing != "" {
		t.publish(e)
		return e.status, true
	}
	e.stopping = true
	t.move(e, instance.Stopping)
	return e.status, true
}

// killed notes that the kernel killed a process of a container for its memory.
// It reports whether the container's end was already explained otherwise.
func (t *table) killed(id string) (c Container, late bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byContainer(id)
	if e == nil || e.oom {
		return Container{}, false
	}
	e.oom = true
	if e.alive || e.failing != "" {
		return e.container, false
	}
	e.status.OOM, e.status.Reason = true, outOfMemory
	if past, ok := t.crashes[e.status.AllocID]; ok {
		past.Why = outOfMemory
		t.crashes[e.status.AllocID] = past
	}
	t.publish(e)
	return e.container, true
}

// measured notes what an instance uses. Watchers are not told: it changes all
// the time, and who wants to know asks.
func (t *table) measured(id string, u instance.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byContainer(id); e != nil && e.alive {
		e.status.Usage = u
	}
}

// all returns the status of every instance and task.
func (t *table) all() []instance.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]instance.Status, 0, len(t.byAlloc))
	for _, e := range t.byAlloc {
		out = append(out, e.status)
	}
	return out
}

// alive returns the containers that run.
func (t *table) alive() []Container {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Container
	for _, e := range t.byAlloc {
		if e.alive {
			out = append(out, e.container)
		}
	}
	return out
}

// inUse returns what instances here may be started from again.
func (t *table) inUse() map[specKey]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[specKey]bool{}
	for _, e := range t.byAlloc {
		out[keyOf(e.container)] = true
	}
	return out
}

// retry returns until when an allocation is held back.
func (t *table) retry(alloc string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.crashes[alloc].Retry
}
