package instances

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// Nodes tells which nodes run instances, and reaches them. Its methods are
// safe for concurrent use.
type Nodes interface {
	// DEAs returns the IDs of the nodes that run instances, and a channel
	// that is closed when that may have changed.
	DEAs() ([]string, <-chan struct{})
	// States calls report with a snapshot of a node's instances and then with
	// changes, until ctx is done or the connection is lost.
	States(ctx context.Context, node string, report func(instance.Report)) error
	// Measure returns a process' instances on a node with what they use.
	Measure(ctx context.Context, node, process string) ([]instance.Status, error)
}

// Config is what a table is made from. Nodes is needed.
type Config struct {
	Nodes Nodes
	// Placements and Owner confirm what nodes report before it counts. Without
	// Placements the nodes are believed: for tests only.
	Placements Placements
	Owner      Owner
	// Restart makes the node start an instance anew.
	Restart func(ctx context.Context, allocID string) error
	// LearnWithin bounds how long the nodes are waited for; default 15 s.
	LearnWithin time.Duration
	// StaleAfter is how long after a node's stream broke its instances still
	// count as ready for deployments; default 5 s.
	StaleAfter time.Duration
	Logger     *slog.Logger     // default slog.Default
	Now        func() time.Time // default time.Now
}

// Table holds the instances. It is safe for concurrent use.
type Table struct {
	cfg Config

	mu        sync.RWMutex
	all       map[string]instance.Status     // by allocation
	byProcess map[string]map[string]struct{} // allocations by process
	byApp     map[string]map[string]struct{} // allocations by app
	byNode    map[string]map[string]struct{} // allocations by node
	nodes     map[string]*nodeView           // DEAs that are followed
	subs      map[*Subscription]struct{}     // who is told of changes
	learned   chan struct{}                  // closed when learned
	version   uint64                         // grows with each change
	exits     func(was, is instance.Status)  // may be nil

	claims   map[string]map[string]*claim // by node and allocation
	admitted map[string]admission         // by allocation, of those in all
	liars    map[string]*liar             // by node, of those that are followed
	claimed  chan struct{}                // wakes settle
	timeUp   bool                         // LearnWithin has passed
}

// nodeView is what is known of a node's stream.
type nodeView struct {
	images *[]string // that it has verified; nil: it has not said
	spoke  bool      // it has sent a snapshot since the controller started
	open   bool      // the stream is open and has spoken
	since  time.Time // of open
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns an empty table that follows nobody yet.
func New(cfg Config) *Table {
	if cfg.LearnWithin == 0 {
		cfg.LearnWithin = 15 * time.Second
	}
	if cfg.StaleAfter == 0 {
		cfg.StaleAfter = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Table{
		cfg: cfg, all: map[string]instance.Status{}, byProcess: map[string]map[string]struct{}{},
		byApp: map[string]map[string]struct{}{}, byNode: map[string]map[string]struct{}{},
		nodes: map[string]*nodeView{}, subs: map[*Subscription]struct{}{}, learned: make(chan struct{}),
		claims: map[string]map[string]*claim{}, admitted: map[string]admission{}, liars: map[string]*liar{}, claimed: make(chan struct{}, 1),
	}
}

// OnChange sets a function that is called with each change of one instance,
// in order, before subscribers are told. is.State is Gone for one that was
// forgotten. Set it before Run; it must not block.
func (t *Table) OnChange(fn func(was, is instance.Status)) { t.exits = fn }

// Learned reports whether every node has told what runs there, or
// Config.LearnWithin has passed; and whether the scheduler has confirmed it or
// not. While it cannot be asked a controller goes on learning.
func (t *Table) Learned() bool {
	select {
	case <-t.learned:
		return true
	default:
		return false
	}
}

// AwaitLearned returns when Learned, or when ctx is done with its error.
func (t *Table) AwaitLearned(ctx context.Context) error {
	select {
	case <-t.learned:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// All returns every known instance, in no useful order.
func (t *Table) All() []instance.Status {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.all))
}

// OfProcess returns the known instances of a process, in all versions, by
// index.
func (t *Table) OfProcess(processGUID string) []instance.Status {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pick(t.byProcess[processGUID])
}

// OfApp returns the known instances of all processes of an app, by index.
func (t *Table) OfApp(appGUID string) []instance.Status {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pick(t.byApp[appGUID])
}

// measureWithin bounds how long a node may take to say what instances use.
const measureWithin = time.Second

// Measure is OfProcess with what the instances use, asked from their nodes now.
// A node that does not answer within a second costs its figures only.
func (t *Table) Measure(ctx context.Context, processGUID string) []instance.Status {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	out := t.OfProcess(processGUID)
	var (
		mu    sync.Mutex
		used  = map[string]instance.Usage{}
		group sync.WaitGroup
	)
	asked := map[string]bool{}
	for _, s := range out {
		if asked[s.Node] || t.Stale(s.Node) {
			continue
		}
		asked[s.Node] = true
		group.Go(func() {
			list, err := t.cfg.Nodes.Measure(ctx, s.Node, processGUID)
			if err != nil {
				t.cfg.Logger.Debug("measure instances", "node", s.Node, "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, m := range list {
				used[s.Node+"/"+m.AllocID] = m.Usage
			}
		})
	}
	group.Wait()
	for i, s := range out {
		if u, ok := used[s.Node+"/"+s.AllocID]; ok {
			out[i].Usage = u
		}
	}
	return out
}

// Restart makes the node start an instance anew.
func (t *Table) Restart(ctx context.Context, allocID string) error {
	if t.cfg.Restart == nil {
		return errors.New("instances cannot be restarted here")
	}
	return t.cfg.Restart(ctx, allocID)
}

// Alloc returns one instance.
func (t *Table) Alloc(id string) (instance.Status, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s, ok := t.all[id]
	return s, ok
}

// Ready counts the instances of a process version that can serve: ready, on
// a node that is heard of.
func (t *Table) Ready(processGUID, version string) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	for id := range t.byProcess[processGUID] {
		if s := t.all[id]; s.Version == version && s.Ready && !t.stale(s.Node) {
			n++
		}
	}
	return n
}

// stale reports whether a node has not been heard of for Config.StaleAfter.
func (t *Table) stale(node string) bool {
	v := t.nodes[node]
	return v == nil || !v.open && t.cfg.Now().Sub(v.since) > t.cfg.StaleAfter
}

// Stale reports whether a node is not heard of: what is known of its
// instances may be wrong.
func (t *Table) Stale(node string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.stale(node)
}

// Images returns the images that each node has verified, of those that have
// said so and are heard of.
func (t *Table) Images() map[string][]string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := map[string][]string{}
	for id, v := range t.nodes {
		if v.images != nil && v.open {
			out[id] = *v.images
		}
	}
	return out
}

func (t *Table) pick(ids map[string]struct{}) []instance.Status {
	out := make([]instance.Status, 0, len(ids))
	for id := range ids {
		out = append(out, t.all[id])
	}
	slices.SortFunc(out, func(a, b instance.Status) int {
		if a.Index != b.Index {
			return a.Index - b.Index
		}
		return a.Since.Compare(b.Since)
	})
	return out
}
