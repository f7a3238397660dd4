package consensus

import (
	"maps"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Tables and commands of the package itself.
const (
	leaderTable     = "consensus_leader"
	memberTable     = "consensus_members"
	generationTable = "consensus_generation"
)

// leadership is the single row of leaderTable: who leads since which term.
type leadership struct {
	ID   string  `json:"id"` // always "leader"
	Term uint64  `json:"term"`
	Node node.ID `json:"node"`
}

// member says which commands a Raft member's build knows.
type member struct {
	ID           node.ID      `json:"id"`
	Capabilities Capabilities `json:"capabilities"`
}

// generation is a row that is only ever written to wake watchers.
type generation struct {
	ID string `json:"id"`
}

type termStarted struct {
	Term uint64  `json:"term"`
	Node node.ID `json:"node"`
}

type memberReport struct {
	ID           node.ID      `json:"id"`
	Capabilities Capabilities `json:"capabilities"`
	Gone         bool         `json:"gone,omitempty"`
}

var (
	cmdTermStarted = &Command[termStarted, struct{}]{Type: "consensus.term_started", Version: 1}
	cmdReport      = &Command[memberReport, struct{}]{Type: "consensus.report", Version: 1}
)

func registerInternals(r *Registry) {
	id := map[string]*memdb.IndexSchema{"id": {
		Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "ID"},
	}}
	AddTable[leadership](r, &memdb.TableSchema{Name: leaderTable, Indexes: id})
	AddTable[member](r, &memdb.TableSchema{Name: memberTable, Indexes: id})
	AddTable[generation](r, &memdb.TableSchema{Name: generationTable, Indexes: id})
	Register(r, cmdTermStarted.Type, cmdTermStarted.Version, applyTermStarted)
	Register(r, cmdReport.Type, cmdReport.Version, applyReport)
}

func applyTermStarted(tx *Tx, in termStarted) (struct{}, error) {
	// The same node may say it twice: Raft can tell of one term's beginning
	// more than once, see leadLoop.
	if cur := currentLeadership(tx); cur.Term > in.Term || cur.Term == in.Term && cur.Node != in.Node {
		return struct{}{}, rpcerr.New(rpcerr.Precondition, "term %d has passed, the newest is %d", in.Term, cur.Term)
	}
	return struct{}{}, Put(tx, leaderTable, leadership{ID: "leader", Term: in.Term, Node: in.Node})
}

func applyReport(tx *Tx, in memberReport) (struct{}, error) {
	if in.Gone {
		_, err := Delete(tx, memberTable, "id", string(in.ID))
		return struct{}{}, err
	}
	return struct{}{}, Put(tx, memberTable, member{ID: in.ID, Capabilities: in.Capabilities})
}

// Leader returns the node whose leadership the state shows, and its term; ""
// before the first. It may be history: the leader can be gone.
func Leader(r Reader) (node.ID, uint64) {
	l := currentLeadership(r)
	return l.Node, l.Term
}

func currentLeadership(r Reader) leadership {
	l, _ := Get[leadership](r, leaderTable, "id", "leader")
	return l
}

// reported returns what a member has reported, ok is false if it never has.
func reported(r Reader, id node.ID) (Capabilities, bool) {
	m, ok := Get[member](r, memberTable, "id", string(id))
	return m.Capabilities, ok
}

func (c Capabilities) equal(o Capabilities) bool { return maps.Equal(c, o) }
