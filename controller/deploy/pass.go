package deploy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
)

// backoff holds back what has failed.
type backoff struct {
	until time.Time
	wait  time.Duration
}

// question is what was asked about a job that finds no place.
type question struct {
	at     time.Time
	answer string
	open   bool // is to be asked
}

const (
	// askEvery is how often it is asked why a job finds no place.
	askEvery = 2 * time.Second
	// collectAfter is how long after the last removal Nomad is told to
	// forget what has ended.
	collectAfter = 20 * time.Second

	// leaveWithin is longer than any instance takes to end.
	leaveWithin = 5 * time.Minute

	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
)

// pass brings jobs and rows one step on. An error means that nothing could be
// read; what could not be written is tried again by itself.
func (r *run) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// After the jobs were listed: see the package comment.
	v, err := r.state.Read(ctx)
	if err != nil {
		return fmt.Errorf("read the rows: %w", err)
	}
	r.stillReady = map[string]time.Time{}
	active := v.ActiveDeployments()
	rolling := make(map[string]bool, len(active))
	for _, d := range active {
		rolling[d.AppGUID] = true
	}
	r.rolling.Store(&rolling)
	for guid := range r.most {
		if !slices.ContainsFunc(active, func(d cf.Deployment) bool { return d.GUID == guid }) {
			delete(r.most, guid)
		}
	}
	r.readLive(ctx, active)
	p := r.plan(v)
	r.ready = r.stillReady
	for id, at := range r.leaving {
		if r.cfg.Now().Sub(at) > leaveWithin {
			delete(r.leaving, id)
		}
	}
	r.apply(ctx, p)
	r.forgetRetries()
	if !r.cfg.Now().Before(r.sweep) {
		r.sweep = r.cfg.Now().Add(r.cfg.Resync)
		r.sweepVersions(ctx, v, p)
	}
	r.askWhy(ctx)
	r.collect(ctx)
	return nil
}

// apply does what is planned, several at once, and takes over what came of it.
func (r *run) apply(ctx context.Context, p *plan) {
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		slot = make(chan struct{}, parallel)
	)
	do := func(key string, f func() (func(), error)) {
		mu.Lock()
		wait := r.retry[key].until.Sub(r.cfg.Now())
		if wait > 0 {
			r.again(wait)
		}
		mu.Unlock()
		if wait > 0 {
			return
		}
		slot <- struct{}{}
		wg.Go(func() {
			defer func() { <-slot }()
			done, err := f()
			mu.Lock()
			defer mu.Unlock()
			r.settle(ctx, key, err)
			if err == nil {
				done()
				r.wake() // for what comes next
			}
		})
	}
	ops := p.ops(r.view)
	// What serves is added before anything is taken away.
	for _, adding := range []bool{true, false} {
		for _, o := range ops {
			if adding == (o.job != nil || o.scale) {
				do(o.id, func() (func(), error) { return r.do(ctx, o) })
			}
		}
		wg.Wait()
	}
	for _, m := range p.moves {
		do(m.what, func() (func(), error) { return func() {}, m.write(ctx, r.state) })
	}
	wg.Wait()
}

// settle notes how an attempt ended, and holds back what has failed.
func (r *run) settle(ctx context.Context, key string, err error) {
	if err == nil {
		delete(r.retry, key)
		return
	}
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrChanged) {
		r.relist()
	}
	b := r.retry[key]
	if b.wait == 0 {
		r.cfg.Log.Warn("a step of a deployment failed; it is tried again", "step", key, "err", err)
	}
	b.wait = min(max(2*b.wait, firstRetry), lastRetry)
	b.until = r.cfg.Now().Add(jitter(b.wait))
	r.retry[key] = b
	r.again(b.wait)
}

// shrunk notes which instances a job has lost by shrinking to count: they may
// be reported as ready for a while, and the job may grow again meanwhile.
func (r *run) shrunk(id string, count int) {
	kind, process, version, _ := jobs.Parse(id)
	if kind != jobs.KindApp {
		return
	}
	for _, s := range r.cfg.Instances.OfProcess(process) {
		if s.Version == version && s.Index >= count {
			r.leaving[s.AllocID] = r.cfg.Now()
		}
	}
}

// forgetRetries drops what was not tried again: it is not wanted any more.
func (r *run) forgetRetries() {
	for key, b := range r.retry {
		if r.cfg.Now().Sub(b.until) > lastRetry {
			delete(r.retry, key)
		}
	}
}

// do writes to Nomad. The function that it returns takes the result over.
func (r *run) do(ctx context.Context, o op) (func(), error) {
	switch {
	case o.job != nil:
		job, err := o.job()
		if err != nil {
			return nil, err
		}
		index, err := r.cfg.Nomad.Register(ctx, job, o.index)
		return func() { r.view.put(Job{ID: o.id, Index: index, Count: o.count}) }, err
	case o.scale:
		index, err := r.cfg.Nomad.Scale(ctx, o.id, o.count, o.index)
		return func() {
			r.shrunk(o.id, o.count)
			r.view.put(Job{ID: o.id, Index: index, Count: o.count})
		}, err
	}
	return func() {
		r.shrunk(o.id, 0)
		r.view.remove(o.id)
		r.sweep = time.Time{}
		r.garbage = r.cfg.Now().Add(collectAfter)
	}, r.cfg.Nomad.Remove(ctx, o.id)
}

// sweepVersions forgets versions of processes that no job needs any more.
func (r *run) sweepVersions(ctx context.Context, v *state.View, p *plan) {
	var keys []state.VersionKey
	for _, pv := range v.ProcessVersions() {
		id := jobs.AppID(pv.ProcessGUID, pv.Version)
		_, wanted := p.want[id]
		if _, there := r.view.jobs[id]; !wanted && !there && len(keys) < 100 {
			keys = append(keys, state.VersionKey{ProcessGUID: pv.ProcessGUID, Version: pv.Version})
		}
	}
	keys = unneeded(v, keys)
	if len(keys) == 0 {
		return
	}
	const key = "forget versions"
	if r.retry[key].until.After(r.cfg.Now()) {
		return
	}
	r.settle(ctx, key, r.state.DeleteProcessVersions(ctx, keys...))
}

// unneeded leaves out what the rows still name, such as the version of a
// process without instances.
func unneeded(v *state.View, keys []state.VersionKey) []state.VersionKey {
	var out []state.VersionKey
	for _, k := range keys {
		p, ok := v.Process(k.ProcessGUID)
		if ok && p.Version == k.Version {
			continue
		}
		if d, active := v.ActiveDeployment(p.AppGUID); ok && active && d.NewVersion == k.Version {
			continue
		}
		out = append(out, k)
	}
	return out
}

// unplaced returns why a job finds no place, as far as is known, and has it
// found out.
func (r *run) unplaced(id string) string {
	q := r.asked[id]
	q.open = true
	r.asked[id] = q
	r.again(askEvery)
	return q.answer
}

// askWhy asks Nomad what this pass wanted to know, and forgets the rest.
func (r *run) askWhy(ctx context.Context) {
	for id, q := range r.asked {
		if !q.open {
			delete(r.asked, id)
			continue
		}
		q.open = false
		if now := r.cfg.Now(); now.Sub(q.at) >= askEvery {
			q.at = now
			// An error is no answer: it is asked again.
			why, err := WhyUnplaced(ctx, r.cfg.Nomad, id, r.cfg.Zones(), r.cfg.Images())
			if err == nil && why != q.answer {
				q.answer = why
				r.wake()
			}
		}
		r.asked[id] = q
	}
}

// collect has Nomad forget what has ended, some time after the last removal.
func (r *run) collect(ctx context.Context) {
	now := r.cfg.Now()
	switch {
	case r.garbage.IsZero():
	case now.Before(r.garbage):
		r.again(r.garbage.Sub(now))
	case len(r.retry) > 0: // how something ended may still have to be read
		r.again(collectAfter)
	default:
		r.garbage = time.Time{}
		if err := r.cfg.Nomad.Collect(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("Nomad keeps what has ended for an hour", "err", err)
		}
	}
}

func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // not a secret
}
