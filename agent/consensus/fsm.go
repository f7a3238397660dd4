package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/wire/rpcerr"
)

// Proposal is a command on its way into the log. Its JSON is the content of a
// log entry and of a forwarded write.
type Proposal struct {
	// ID makes retries safe: the same id is applied once.
	ID string `json:"id,omitempty"`
	// Type and Version name the registered command.
	Type    string `json:"type"`
	Version int    `json:"v"`
	// Term, if not 0, is the Raft term of the leader whose work this is.
	Term uint64 `json:"term,omitempty"`
	// Data is the command's input.
	Data json.RawMessage `json:"data"`
}

// outcome is what applying a proposal gave; it is remembered by request id.
type outcome struct {
	Result json.RawMessage `json:"result,omitempty"`
	Err    *rpcerr.Error   `json:"err,omitempty"`
}

// fsm applies log entries to the tables. Raft calls Apply,
// StoreConfiguration, Snapshot and Restore from one goroutine.
type fsm struct {
	reg      *Registry
	state    *State
	requests *requestMemory
	// members is the index of the last membership entry; Raft does not tell
	// its own.
	members atomic.Uint64

	// starting is true inside Open: a snapshot that cannot be restored then
	// must not be passed over.
	starting atomic.Bool

	// applied is called after each command, must be quick, and may be nil.
	applied func(position)

	// stopped is set for good when an entry cannot be applied here; from
	// then on the tables do not move.
	stopOnce sync.Once
	stopErr  error
	stop     chan struct{}
}

func newFSM(reg *Registry) (*fsm, error) {
	state, err := newState(reg.dbSchema())
	if err != nil {
		return nil, err
	}
	return &fsm{reg: reg, state: state, requests: newRequestMemory(), stop: make(chan struct{})}, nil
}

// UnknownCommandError says that the log holds a command that this build does
// not know. The node has to stop: going on would make its state differ.
type UnknownCommandError struct {
	Type    string
	Version int
	Index   uint64
}

// Error says what to do about it.
func (e *UnknownCommandError) Error() string {
	return fmt.Sprintf("the log holds command %s v%d (index %d), which this version of stackato-agent does not know: "+
		"install the version that the other controllers run and start it again", e.Type, e.Version, e.Index)
}

// Apply implements raft.FSM. It returns an outcome.
func (f *fsm) Apply(l *raft.Log) any {
	if f.halted() {
		return f.stoppedOutcome()
	}
	var p Proposal
	if err := decodeStrict(l.Data, &p); err != nil {
		return f.halt(fmt.Errorf("log entry %d is not a proposal: %w", l.Index, err))
	}
	decode, ok := f.reg.commands[p.Type][p.Version]
	if !ok {
		return f.halt(&UnknownCommandError{p.Type, p.Version, l.Index})
	}
	apply, err := decode(p.Data)
	if err != nil {
		// The leader has decoded it: its build has another input under
		// this version, and would apply what this one cannot.
		return f.halt(fmt.Errorf("log entry %d cannot be read by this version of stackato-agent: %w: "+
			"install the version that the other controllers run and start it again", l.Index, err))
	}
	if f.applied != nil {
		defer f.applied(position{l.Index, l.Term})
	}
	if known, ok := f.requests.get(p.ID); ok {
		f.state.commit(nil, l.Index)
		return known
	}
	txn := f.state.db.Txn(true)
	out := run(&Tx{txn: txn, Index: l.Index}, apply, p.Term)
	f.requests.put(p.ID, out)
	if out.Err != nil {
		txn.Abort()
		txn = nil
	}
	f.state.commit(txn, l.Index)
	return out
}

// run applies one command; the caller commits or rolls back.
func run(tx *Tx, apply applyFunc, term uint64) (out outcome) {
	if term != 0 {
		if cur := currentLeadership(tx); cur.Term != term {
			return outcome{Err: rpcerr.New(rpcerr.Precondition,
				"a newer Primary has taken over (term %d, now %d)", term, cur.Term)}
		}
	}
	defer func() {
		// A defect in one command must not end every controller, again at
		// each start: the entry stays in the log.
		if r := recover(); r != nil {
			out = outcome{Err: rpcerr.New(rpcerr.Internal, "the command panicked: %v, in %s", r, panicSite())}
		}
	}()
	result, err := apply(tx)
	if err != nil {
		return outcome{Err: rpcerr.From(err).WithRetryable(false)}
	}
	return outcome{Result: result}
}

// panicSite names the function that panicked. It is part of the outcome that
// all members remember, so it must be the same on all: no addresses or lines.
func panicSite() string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") || !more {
			return f.Function
		}
	}
}

// StoreConfiguration implements raft.ConfigurationStore: membership entries
// count as applied, so that ReadIndex can wait for them.
func (f *fsm) StoreConfiguration(index uint64, _ raft.Configuration) {
	if !f.halted() {
		f.members.Store(index)
		f.state.commit(nil, index)
	}
}

func (f *fsm) halted() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

func (f *fsm) halt(err error) outcome {
	f.stopOnce.Do(func() {
		f.stopErr = err
		close(f.stop)
	})
	return f.stoppedOutcome()
}

// stoppedOutcome sends the proposer to the next leader: the entry stands in
// the log, and only this node cannot say what it gave.
func (f *fsm) stoppedOutcome() outcome {
	return outcome{Err: rpcerr.New(rpcerr.Deadline, "this controller has stopped: %v", f.stopErr).WithRetryable(true)}
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.halted() {
		return nil, f.stopErr
	}
	return &snapshot{
		reg:      f.reg,
		txn:      f.state.db.Txn(false),
		head:     snapshotHeader{Format: snapshotFormat, Applied: f.state.Applied(), Members: f.members.Load()},
		requests: f.requests.entries(),
	}, nil
}

// Restore implements raft.FSM: it replaces the tables by the snapshot's, or
// leaves them as they are when the snapshot cannot be read.
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	if f.halted() {
		return f.stopErr
	}
	db, err := memdb.NewMemDB(f.reg.dbSchema())
	if err != nil {
		return err
	}
	head, requests, err := readSnapshot(rc, f.reg, db)
	if err != nil {
		// The checksum was right, so another build has written it. At start
		// Raft would go on with an older snapshot, and miss entries.
		var unknown *UnknownTableError
		if errors.As(err, &unknown) || f.starting.Load() {
			f.halt(err)
		}
		return err
	}
	f.requests = requests
	f.members.Store(head.Members)
	f.state.commitRestore(db, head.Applied)
	return nil
}
