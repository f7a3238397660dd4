package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Peers reaches the other members; agent/rpc implements it.
type Peers interface {
	// Apply hands the proposal to the member at addr, which applies it if it
	// leads; index is that of the entry. An error that came after the request
	// was sent (a broken connection) must have code Deadline: the outcome is
	// not known then. Unavailable means that nothing was done.
	Apply(ctx context.Context, id node.ID, addr string, p Proposal) (index uint64, result []byte, err error)
	// ReadIndex asks the member at addr for its read index if it leads.
	ReadIndex(ctx context.Context, id node.ID, addr string) (uint64, error)
}

// Config says how a [Node] is opened. All fields without "optional" are
// needed.
type Config struct {
	ID      node.ID
	Address string // host:port where other members reach this one
	Dir     string // data directory; "" keeps all in memory, for tests

	Timing Timing
	Stream StreamLayer
	Peers  Peers
	Logger *slog.Logger

	// Lead does the leader's work; optional. It is called each time this
	// node has become leader, with the term to fence its actions by, and its
	// context ends when leadership does. It must return soon after that.
	Lead func(ctx context.Context, term uint64)

	// LeaderWait bounds how long a write or read waits for a leader;
	// optional, default 5 s.
	LeaderWait time.Duration
	// SnapshotThreshold is how many entries make a snapshot due; optional,
	// default 8192.
	SnapshotThreshold uint64

	transport raft.Transport // tests: instead of Stream
	wrapStore func(*storage) // tests: faults
}

// Node is this machine's member of the Raft group. Methods are safe for
// concurrent use; after Close they fail.
type Node struct {
	cfg   Config
	log   *slog.Logger
	reg   *Registry
	fsm   *fsm
	raft  *raft.Raft
	trans raft.Transport
	store *storage
	disk  *diskGuard

	// leadTerm is the term in which this node leads and has applied its
	// term_started command, 0 otherwise.
	leadTerm atomic.Uint64
	contacts *contacts
	commits  *commits
	// toFollowers is Raft's own transport.
	toFollowers raft.Transport
	leaders     *leaderWatch
	reads       *batcher      // ReadIndex of this node's callers
	verifies    *batcher      // leadership checks on the leader
	diskFault   chan struct{} // wakes leadLoop

	ctx       context.Context // ends when the node closes
	end       context.CancelFunc
	closeOnce sync.Once
	closeErr  error
}

// Open opens the node's data, checks it, and joins the group if the data say
// that it belongs to one. It does not block; [Node.Run] does the work.
func Open(cfg Config, reg *Registry) (*Node, error) {
	if cfg.LeaderWait == 0 {
		cfg.LeaderWait = 5 * time.Second
	}
	f, err := newFSM(reg)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, reg: reg, fsm: f, contacts: newContacts(), commits: newCommits(), leaders: newLeaderWatch(), diskFault: make(chan struct{}, 1)}
	f.applied = n.commits.apply
	n.ctx, n.end = context.WithCancel(context.Background())
	n.reads = &batcher{life: n.ctx, call: n.askReadIndex}
	n.verifies = &batcher{life: n.ctx, call: n.verify}
	n.disk = newDiskGuard(n.diskChanged)
	hlog := hclogFor(cfg.Logger)
	if n.store, err = openStorage(cfg.Dir, hlog); err != nil {
		n.end()
		return nil, err
	}
	if cfg.wrapStore != nil {
		cfg.wrapStore(n.store)
	}
	n.trans = cfg.transport
	if n.trans == nil {
		n.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: streamLayer{cfg.Stream}, MaxPool: 3, Timeout: 10 * time.Second, Logger: hlog,
		})
	}
	trans := &leaderTransport{n.trans, n.contacts, n.commits, n.disk}
	n.toFollowers = trans
	f.starting.Store(true)
	n.raft, err = raft.NewRaft(n.raftConfig(hlog), f, &guardedLog{LogStore: n.store.logs, guard: n.disk},
		&guardedStable{n.store.stable, n.disk}, n.store.snapshots, trans)
	f.starting.Store(false)
	if err != nil {
		if f.halted() {
			err = f.stopErr
		}
		n.end()
		return nil, errors.Join(fmt.Errorf("open raft: %w", err), trans.Close(), n.store.close())
	}
	go n.leaders.follow(n.ctx, n.raft)
	return n, nil
}

func (n *Node) raftConfig(log hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.ID)
	c.Logger = log
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.SnapshotInterval = 30 * time.Second
	if n.cfg.SnapshotThreshold > 0 {
		c.SnapshotThreshold = n.cfg.SnapshotThreshold
		c.TrailingLogs = n.cfg.SnapshotThreshold
		c.SnapshotInterval = time.Second
	}
	n.cfg.Timing.apply(c)
	return c
}

// HasState reports whether the node's data belong to a group already.
func (n *Node) HasState() (bool, error) {
	return raft.HasExistingState(n.store.logs, n.store.stable, n.store.snapshots)
}

// Bootstrap makes this node the only voter of a new group. It fails when the
// data belong to a group already.
func (n *Node) Bootstrap() error {
	return n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(n.cfg.ID), Address: raft.ServerAddress(n.cfg.Address),
	}}}).Error()
}

// Run leads when it is elected and blocks until ctx is done or the node must
// stop, because the log holds a command that this build does not know. It
// closes the node before it returns.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.leadLoop(ctx)
	}()
	var err error
	select {
	case <-ctx.Done():
	case <-n.fsm.stop:
		err = n.fsm.stopErr
	}
	cancel()
	<-done
	return errors.Join(err, n.close())
}

func (n *Node) close() error {
	n.closeOnce.Do(func() {
		n.end() // callers and their batches first: they must not wait for a Raft that has gone
		n.reads.wait()
		n.verifies.wait()
		n.disk.release()
		// Shutdown closes the transport too.
		n.closeErr = errors.Join(n.raft.Shutdown().Error(), n.store.close())
	})
	return n.closeErr
}

// Close shuts a node down on which Run was never called; later calls do
// nothing.
func (n *Node) Close() error { return n.close() }

// State returns the tables.
func (n *Node) State() *State { return n.fsm.state }

// DiskErr returns why the data directory does not take writes, nil if it
// does.
func (n *Node) DiskErr() error { return n.disk.Err() }

func (n *Node) diskChanged(err error) {
	select {
	case n.diskFault <- struct{}{}:
	default:
	}
	if err != nil {
		n.log.Error("the data disk does not take writes; giving up leadership until it does", "dir", n.cfg.Dir, "err", err)
		return
	}
	n.log.Info("the data disk takes writes again", "dir", n.cfg.Dir)
}

// Leader returns the leader's identity and address as this node knows it; ok
// is false while there is none.
func (n *Node) Leader() (id node.ID, addr string, ok bool) {
	a, i := n.raft.LeaderWithID()
	return node.ID(i), string(a), i != ""
}

// LeadTerm returns the term in which this node leads and is ready to, or 0.
func (n *Node) LeadTerm() uint64 { return n.leadTerm.Load() }

// Stats are numbers for status and metrics.
type Stats struct {
	State       string `json:"state"` // Follower, Candidate, Leader, Shutdown
	Term        uint64 `json:"term"`
	LastIndex   uint64 `json:"last_index"`
	CommitIndex uint64 `json:"commit_index"`
	Applied     uint64 `json:"applied"`
	// LastContact is the age of the leader's last sign of life, 0 on the
	// leader itself.
	LastContact time.Duration `json:"last_contact_ns"`
}

// Stats returns the node's numbers.
func (n *Node) Stats() Stats {
	s := Stats{
		State:       n.raft.State().String(),
		Term:        n.raft.CurrentTerm(),
		LastIndex:   n.raft.LastIndex(),
		CommitIndex: n.raft.CommitIndex(),
		Applied:     n.fsm.state.Applied(),
	}
	if t := n.raft.LastContact(); n.raft.State() != raft.Leader && !t.IsZero() {
		s.LastContact = time.Since(t)
	}
	return s
}

// errNoLeader is what callers see when no leader was found in time.
func (n *Node) errNoLeader(cause error) error {
	e := rpcerr.New(rpcerr.Unavailable, "the cluster has no Primary that answers (waited %s)", n.cfg.LeaderWait)
	if cause != nil {
		e = rpcerr.New(rpcerr.Unavailable, "the cluster has no Primary that answers (waited %s; last: %v)", n.cfg.LeaderWait, cause)
	}
	return e.WithHint("more than half of the voting controllers must be up and reach each other; see: kato status")
}
