package health

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// State is the part of [state.Store] that the manager works on.
type State interface {
	Read(ctx context.Context) (*state.View, error)
	RecordEvent(ctx context.Context, e cf.AuditEvent) error
}

// Learner is [instances.Table].
type Learner interface {
	Instances
	// AwaitLearned returns when every node has told what runs there, or was
	// given the time to.
	AwaitLearned(ctx context.Context) error
}

// Config says what a [Manager] works with. The fields of the first group are
// needed.
type Config struct {
	// State returns the rows; what is written through it is refused when
	// the term is over.
	State     func(term uint64) State
	Instances Learner
	// Resync makes the deployer list all jobs and put right what differs.
	Resync func()
	// Unplaced says why a job finds no place, "" if it does.
	Unplaced func(ctx context.Context, job string) (string, error)

	Log *slog.Logger
	// Every is how often all is compared. Default 5 s.
	Every time.Duration
	// Patience is how long a difference may last before it is put right: what
	// starts and stops takes its time. Default 15 s.
	Patience time.Duration
	Now      func() time.Time // default time.Now
}

// crashesWaiting bounds the crashes that wait to be written.
const crashesWaiting = 1000

// recent is how old a crash may be that a new Primary still writes: the old one
// may not have come to it.
const recent = 5 * time.Minute

// Manager is the Health Manager. Its methods are safe for concurrent use.
type Manager struct {
	cfg Config

	mu       sync.Mutex
	crashes  chan crash // nil while this controller is not the Primary
	last     []Difference
	compared bool // last is of this term
}

// New returns a manager that does nothing until Run.
func New(cfg Config) *Manager {
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 15 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{cfg: cfg}
}

// Observe takes in a change of an instance; it is meant for the table's
// OnChange and does not block. Only a Primary does something with it.
func (m *Manager) Observe(was, is instance.Status) {
	if c, ok := crashOf(was, is); ok {
		m.queue(c)
	}
}

func (m *Manager) queue(c crash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashes == nil {
		return
	}
	select {
	case m.crashes <- c:
	default:
		m.cfg.Log.Warn("too many crashes at once; an event is not written", "app", c.status.AppGUID)
	}
}

// Differences returns what was not as it should be when it was last compared;
// false on a controller that is not the Primary, and on one that does not know
// yet what runs.
func (m *Manager) Differences() ([]Difference, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.compared
}

// Run works as the Primary of a term until ctx is done; then it returns nil.
func (m *Manager) Run(ctx context.Context, term uint64) error {
	st := m.cfg.State(term)
	crashes := make(chan crash, crashesWaiting)
	m.mu.Lock()
	m.crashes = crashes
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.crashes, m.last, m.compared = nil, nil, false
		m.mu.Unlock()
	}()
	var g errgroup.Group
	g.Go(func() error { m.writeCrashes(ctx, st, crashes); return nil })
	g.Go(func() error { m.compareOften(ctx, st); return nil })
	return g.Wait()
}

func (m *Manager) writeCrashes(ctx context.Context, st State, crashes <-chan crash) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-crashes:
			m.write(ctx, st, c)
		}
	}
}

// write tries for a minute: the log may have no leader.
func (m *Manager) write(ctx context.Context, st State, c crash) {
	wait := 100 * time.Millisecond
	for end := time.Now().Add(time.Minute); ; wait = min(2*wait, 5*time.Second) {
		err := m.record(ctx, st, c)
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Now().After(end) {
			m.cfg.Log.Warn("the event of a crash is not written", "app", c.status.AppGUID, "err", err)
			return
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// compareOften compares all, as soon as it is known what runs.
func (m *Manager) compareOften(ctx context.Context, st State) {
	if m.cfg.Instances.AwaitLearned(ctx) != nil {
		return
	}
	for _, s := range m.cfg.Instances.All() {
		if c, ok := crashOf(instance.Status{}, s); ok && m.cfg.Now().Sub(s.Since) < recent {
			m.queue(c)
		}
	}
	w := watch{since: map[string]time.Time{}}
	for failed := false; ; {
		err := m.compare(ctx, st, &w)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failed {
			m.cfg.Log.Warn("could not compare what runs with what should; it is tried again", "err", err)
		}
		failed = err != nil
		if !sleep(ctx, m.cfg.Every) {
			return
		}
	}
}

// watch remembers since when differences last.
type watch struct {
	since  map[string]time.Time // by process
	resync time.Time            // the last one
}

func (m *Manager) compare(ctx context.Context, st State, w *watch) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v, err := st.Read(ctx)
	if err != nil {
		return err
	}
	asked := 0
	all := Compare(v, m.cfg.Instances, func(process, version string) string {
		if asked++; asked > 20 {
			return "" // a whole cluster is down: the first few tell why
		}
		why, err := m.cfg.Unplaced(ctx, jobs.AppID(process, version))
		if err != nil {
			return ""
		}
		return why
	})
	m.mu.Lock()
	m.last, m.compared = all, m.crashes != nil
	m.mu.Unlock()
	m.repair(all, w)
	return nil
}

// repair has the jobs looked at if a difference lasts that a job can make.
func (m *Manager) repair(all []Difference, w *watch) {
	now := m.cfg.Now()
	since, due := map[string]time.Time{}, false
	for _, d := range all {
		if d.unseen() == 0 && len(d.Extra) == 0 {
			continue
		}
		began, ok := w.since[d.Process]
		if !ok {
			began = now
		}
		since[d.Process] = began
		if now.Sub(began) < m.cfg.Patience {
			continue
		}
		due = true
		if now.Sub(w.resync) >= m.cfg.Patience {
			m.cfg.Log.Warn("what runs is not what should; the jobs are looked at",
				"app", d.App, "type", d.Type, "asked", d.Asked, "running", d.Running, "unseen", d.unseen(), "extra", len(d.Extra))
		}
	}
	w.since = since
	if due && now.Sub(w.resync) >= m.cfg.Patience {
		w.resync = now
		m.cfg.Resync()
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
