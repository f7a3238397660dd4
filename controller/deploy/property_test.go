package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
)

// Whatever happens in whatever order, among it changes of the Primary and an
// old Primary that wakes up: no pass makes fewer instances ready than were
// asked for, and in the end what runs is what was asked for.
func TestNeverFewerReadyThanAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{world: newWorld(t.Context(), t), rt: t}
		m.push(rapid.IntRange(1, 5).Draw(t, "instances"))
		m.start(false)
		m.become()
		m.settle("at first")
		t.Repeat(map[string]func(*rapid.T){
			"pass":       func(*rapid.T) { m.pass(m.primary) },
			"ready":      func(t *rapid.T) { m.one(t, func(id string) { m.nodes.set(id, true) }) },
			"crash":      func(t *rapid.T) { m.one(t, func(id string) { m.nodes.crash(id, "exit 1") }) },
			"told":       func(*rapid.T) { m.nodes.forget() },
			"roll":       m.doRoll,
			"scale":      func(t *rapid.T) { m.scale(m.process().Instances + rapid.IntRange(0, 2).Draw(t, "more")) },
			"cancel":     m.doCancel,
			"continue":   m.doContinue,
			"newPrimary": func(*rapid.T) { m.become() },
			"oldPrimary": func(*rapid.T) { m.pass(m.former) },
			"refused":    func(t *rapid.T) { m.refuse = rapid.IntRange(0, 3).Draw(t, "calls") },
			"list":       func(*rapid.T) { m.must(m.primary.List(m.ctx)) },
			"time":       func(*rapid.T) { m.now = m.now.Add(10 * time.Second) },
		})
		m.settle("in the end")
	})
}

type machine struct {
	*world
	rt              *rapid.T
	primary, former *deploy.Steps
	mu              sync.Mutex
	refuse          int // calls that Nomad will refuse
	term            uint64
}

// fenced refuses the writes of an old Primary, as the log does.
type fenced struct {
	*state.Store
	current func() bool
}

func (f fenced) check() error {
	if !f.current() {
		return errors.New("another Primary has taken over")
	}
	return nil
}

func (f fenced) ProgressDeployment(ctx context.Context, p state.DeploymentProgress) (cf.Deployment, error) {
	if err := f.check(); err != nil {
		return cf.Deployment{}, err
	}
	return f.Store.ProgressDeployment(ctx, p)
}

func (f fenced) CancelDeployment(ctx context.Context, t state.Target) (cf.Deployment, error) {
	if err := f.check(); err != nil {
		return cf.Deployment{}, err
	}
	return f.Store.CancelDeployment(ctx, t)
}

func (f fenced) FinishDeployment(ctx context.Context, t state.Target) (cf.Deployment, error) {
	if err := f.check(); err != nil {
		return cf.Deployment{}, err
	}
	return f.Store.FinishDeployment(ctx, t)
}

func (f fenced) DeleteProcessVersions(ctx context.Context, keys ...state.VersionKey) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.Store.DeleteProcessVersions(ctx, keys...)
}

// become makes another Primary; the one before lives on, paused.
func (m *machine) become() {
	m.nomad.Fail = func(call, id string) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if call == "jobs" || m.refuse == 0 {
			return nil
		}
		m.refuse--
		return fmt.Errorf("no %s of %s today", call, id)
	}
	m.former = m.primary
	m.term++
	cfg := m.config()
	cfg.State = func(term uint64) deploy.State { return fenced{m.store, func() bool { return m.term == term }} }
	p, err := deploy.NewSteps(m.ctx, cfg, m.term)
	m.must(err)
	m.primary = p
	if m.former == nil {
		m.former = p
	}
}

// pass checks that a pass takes nothing away that is needed.
func (m *machine) pass(p *deploy.Steps) {
	asked, before := m.process().Instances, m.serving()
	m.must(p.Pass(m.ctx))
	if after := m.serving(); after < min(asked, before) {
		m.rt.Fatalf("%d instances were ready, %d asked for; a pass left %d; jobs %v", before, asked, after, m.nomad.Counts())
	}
}

// one does something to an instance that runs.
func (m *machine) one(t *rapid.T, do func(id string)) {
	var ids []string
	for _, a := range m.nomad.All("") {
		if !a.Ended() {
			ids = append(ids, a.ID)
		}
	}
	if len(ids) > 0 {
		do(ids[rapid.IntRange(0, len(ids)-1).Draw(t, "instance")])
	}
}

func (m *machine) doRoll(t *rapid.T) {
	var steps []int
	strategy := rapid.SampledFrom([]string{cf.StrategyRolling, cf.StrategyCanary}).Draw(t, "strategy")
	if strategy == cf.StrategyCanary && rapid.Bool().Draw(t, "steps") {
		steps = []int{10, 50, 100}
	}
	m.roll(strategy, rapid.IntRange(1, 3).Draw(t, "in flight"), steps...)
}

func (m *machine) active() (cf.Deployment, bool) { return m.store.Local().ActiveDeployment(m.app) }

func (m *machine) doCancel(*rapid.T) {
	if d, ok := m.active(); ok {
		_, err := m.store.CancelDeployment(m.ctx, state.Target{GUID: d.GUID, At: m.now})
		m.must(err)
	}
}

func (m *machine) doContinue(*rapid.T) {
	if d, ok := m.active(); ok && d.Reason == cf.ReasonPaused {
		_, err := m.store.ContinueDeployment(m.ctx, state.Target{GUID: d.GUID, At: m.now})
		m.must(err)
	}
}

// settle lets everything become ready and checks that it ends.
func (m *machine) settle(when string) {
	m.refuse = 0
	for range 200 {
		m.now = m.now.Add(2 * time.Second)
		m.nodes.allReady()
		m.nodes.forget()
		m.doContinue(nil)
		m.must(m.primary.List(m.ctx))
		m.pass(m.primary)
		if _, busy := m.active(); !busy && m.serving() == m.process().Instances && len(m.nomad.Counts()) == 1 {
			break
		}
	}
	p := m.process()
	if d, busy := m.active(); busy {
		m.rt.Fatalf("%s: deployment %+v does not end; jobs %v", when, d, m.nomad.Counts())
	}
	if len(m.nomad.Counts()) != 1 || m.count(p.Version) != p.Instances || m.serving() != p.Instances {
		m.rt.Fatalf("%s: jobs %v, %d ready; want %d of version %s", when, m.nomad.Counts(), m.serving(), p.Instances, p.Version)
	}
}
