package consensus

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestLeadershipLostAndRegained(t *testing.T) {
	c := startCluster(t, 3)
	old := c.leader()
	term := old.LeadTerm()
	if terms, running := old.leading(); running != 1 || !slices.Equal(terms, []uint64{term}) {
		t.Fatalf("Lead was called with %v (%d run), the term is %d", terms, running, term)
	}
	c.net.isolate(old.id)
	eventually(t, "Lead ends on the cut-off node", func() bool { _, running := old.leading(); return running == 0 })
	if old.LeadTerm() != 0 {
		t.Error("LeadTerm stays")
	}
	next := c.leader()
	if next == old || next.LeadTerm() <= term {
		t.Fatalf("%s leads in term %d after %s in %d", next.id, next.LeadTerm(), old.id, term)
	}
	set(t, next, "a", 1, AsTerm(next.LeadTerm()))
	c.net.heal()
	eventually(t, "the old leader follows", func() bool { id, _, _ := old.Leader(); return id == next.id })
	// Back to the old one.
	for tries := 0; c.leader() != old; tries++ {
		if tries == 30 {
			t.Fatal("leadership never came back")
		}
		if err := c.leader().HandOver(testContext(t)); err != nil && !errors.Is(err, rpcerr.Deadline) {
			t.Fatal(err)
		}
	}
	eventually(t, "Lead runs again", func() bool { _, running := old.leading(); return running == 1 })
	terms, _ := old.leading()
	between, _ := next.leading()
	if len(terms) < 2 || terms[len(terms)-1] <= between[0] || !slices.IsSorted(terms) {
		t.Errorf("Lead was called with %v; the other led in %v", terms, between)
	}
	if v := fresh(t, old, "a"); v != 1 {
		t.Errorf("a is %d", v)
	}
}

// Two nodes may believe that they lead for a moment; only one can write.
func TestOnlyOneLeaderWrites(t *testing.T) {
	c := startCluster(t, 3)
	old := c.leader()
	term := old.LeadTerm()
	c.net.isolate(old.id)
	// Until it notices, the cut-off node takes the write, and cannot commit.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := old.ApplyLocal(ctx, proposal(t, cmdSet, kvSet{"lost", 1})); err == nil {
		t.Fatal("a cut-off leader acknowledged a write")
	}
	others := c.others(old)
	eventually(t, "another leads", func() bool { return others[0].LeadTerm()+others[1].LeadTerm() > 0 })
	next := others[0]
	if next.LeadTerm() == 0 {
		next = others[1]
	}
	set(t, next, "a", 7, AsTerm(next.LeadTerm()))
	c.net.heal()
	eventually(t, "the old leader follows", func() bool { v, _ := value(old, "a"); return v == 7 })
	if _, ok := value(old, "lost"); ok {
		t.Error("the write of the cut-off leader shows")
	}
	if _, err := cmdSet.Propose(testContext(t), old, kvSet{"a", 8}, AsTerm(term)); !errors.Is(err, rpcerr.Precondition) {
		t.Errorf("work of the old term: %v", err)
	}
}

func TestLeaderAloneCannotHandOver(t *testing.T) {
	c := startCluster(t, 1)
	if err := c.nodes[0].HandOver(testContext(t)); !errors.Is(err, rpcerr.Precondition) {
		t.Fatalf("want precondition: %v", err)
	}
	c.join("n1", false) // no voter
	if err := c.nodes[0].HandOver(testContext(t)); !errors.Is(err, rpcerr.Precondition) {
		t.Fatalf("want precondition: %v", err)
	}
	if err := c.nodes[1].HandOver(testContext(t)); err != nil {
		t.Fatalf("a follower has nothing to hand over: %v", err)
	}
}

func TestTermIsAnnouncedTwiceByOneNodeOnly(t *testing.T) {
	f := newTestFSM(t, testRegistry())
	for _, tt := range []struct {
		term uint64
		node node.ID
		ok   bool
	}{{3, "a", true}, {3, "a", true}, {3, "b", false}, {2, "a", false}, {4, "b", true}, {3, "a", false}} {
		p := proposal(t, cmdTermStarted, termStarted{tt.term, tt.node})
		if out := applyNext(t, f, p); (out.Err == nil) != tt.ok {
			t.Errorf("term %d by %s: %v", tt.term, tt.node, out.Err)
		}
	}
}

func TestMembership(t *testing.T) {
	c := startCluster(t, 3)
	l := c.leader()
	extra := c.start("extra", "")
	servers, prev := l.Servers()
	if len(servers) != 3 || !servers[0].Voter {
		t.Fatalf("%v", servers)
	}
	if err := l.AddNonvoter("extra", "extra", prev); !errors.Is(err, rpcerr.Precondition) {
		t.Fatalf("added a node that never reported: %v", err)
	}
	if err := l.AddVoter("extra", "extra", prev); !errors.Is(err, rpcerr.Precondition) {
		t.Fatalf("added a node that never reported: %v", err)
	}
	c.member(extra, false)
	stale := prev
	victim := c.others(l)[0]
	for name, f := range map[string]func() error{
		"AddNonvoter": func() error { return l.AddNonvoter("extra", "elsewhere", stale) },
		"AddVoter":    func() error { return l.AddVoter("extra", "extra", stale) },
		"Demote":      func() error { return l.Demote(victim.id, stale) },
		"Remove":      func() error { return l.Remove(testContext(t), victim.id, stale) },
	} {
		if err := f(); !errors.Is(err, rpcerr.Conflict) {
			t.Errorf("%s with a stale index: %v", name, err)
		}
	}
	role := func(id node.ID) string {
		servers, prev = l.Servers()
		for _, s := range servers {
			if s.ID == id {
				return map[bool]string{true: "voter", false: "nonvoter"}[s.Voter]
			}
		}
		return ""
	}
	if got := role("extra"); got != "nonvoter" {
		t.Fatalf("extra is %q", got)
	}
	set(t, extra, "a", 1)
	if v := fresh(t, extra, "a"); v != 1 {
		t.Fatalf("a is %d on the non-voter", v)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.AddVoter("extra", "extra", prev))
	if got := role("extra"); got != "voter" {
		t.Fatalf("extra is %q", got)
	}
	must(l.Demote(victim.id, prev))
	if got := role(victim.id); got != "nonvoter" {
		t.Fatalf("%s is %q", victim.id, got)
	}
	must(l.Remove(testContext(t), victim.id, prev))
	if got := role(victim.id); got != "" {
		t.Fatalf("%s is %q", victim.id, got)
	}
	if _, ok := reported(l.State().Read(), victim.id); ok {
		t.Error("the report of a removed member stays")
	}
	follower := c.others(l)[0]
	if err := follower.Demote(l.id, prev); !errors.Is(err, rpcerr.Unavailable) {
		t.Errorf("membership changed by a follower: %v", err)
	}
}
