package deploy_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// reporter is a node that tells a real table of what the scheduler placed.
type reporter struct {
	instances.Nodes // what is not asked here

	nodes *nodes
}

func (reporter) DEAs() ([]string, <-chan struct{}) { return []string{"node"}, nil }

func (r reporter) States(ctx context.Context, _ string, report func(instance.Report)) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		r.nodes.allReady()
		out := instance.Report{Snapshot: true}
		for _, a := range r.nodes.nomad.All("") {
			if kind, process, version, _ := jobs.Parse(a.Job); kind == jobs.KindApp && !a.Ended() {
				out.Instances = append(out.Instances, instance.Status{
					AllocID: a.ID, ProcessGUID: process, AppGUID: process, Version: version, Index: a.Index,
					State: instance.Running, Ready: true,
				})
			}
		}
		report(out)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// The loop itself, with the real table of instances: an app is started, rolled
// and deleted, while one Primary follows another.
func TestRun(t *testing.T) {
	w := newWorld(t.Context(), t)
	w.now = time.Now()
	table := instances.New(instances.Config{Nodes: reporter{nodes: w.nodes}, Logger: slog.New(slog.DiscardHandler)})
	cfg := w.config()
	cfg.Instances, cfg.Now, cfg.Settle, cfg.Resync = table, nil, time.Millisecond, 50*time.Millisecond
	d := deploy.New(cfg)

	background(t, table.Run)
	stop := background(t, func(ctx context.Context) error { return d.Run(ctx, 1) })
	w.push(3)
	w.start(false)
	await(t, "three instances", func() bool { return w.count("v1") == 3 && w.serving() == 3 })
	roll := w.roll(cf.StrategyRolling, 1)
	await(t, "the new version", func() bool { return w.count("v2") > 0 })
	stop()
	background(t, func(ctx context.Context) error { return d.Run(ctx, 2) })
	await(t, "the end of the deployment", func() bool {
		return w.deployment(roll.GUID).Reason == cf.ReasonDeployed && w.count("v1") < 0 && w.count("v2") == 3
	})
	w.nomad.Lose(jobs.AppID(w.web, "v2"))
	d.Resync()
	await(t, "the lost job", func() bool { return w.count("v2") == 3 })
	w.must(w.store.DeleteApp(t.Context(), state.Target{GUID: w.app, At: w.now}))
	await(t, "no job", func() bool { return len(w.nomad.Counts()) == 0 })
}

// background runs f until the test ends or the returned function is called.
func background(t *testing.T, f func(context.Context) error) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(time.Millisecond)
	}
}
