package consensus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/rpcerr"
)

func TestWritesShowWhereTheyWereMade(t *testing.T) {
	c := startCluster(t, 3)
	for i := range 20 {
		n := c.nodes[i%3]
		set(t, n, "a", int64(i))
		if v, _ := value(n, "a"); v != int64(i) {
			t.Fatalf("%s reads %d after it wrote %d", n.id, v, i)
		}
		if v := fresh(t, c.nodes[(i+1)%3], "a"); v != int64(i) {
			t.Fatalf("another node reads %d after %d was written", v, i)
		}
	}
}

func TestRacingProposersConflictInsideApply(t *testing.T) {
	c := startCluster(t, 3)
	for round := range 10 {
		var wg sync.WaitGroup
		errs := make([]error, 3)
		for i, n := range c.nodes {
			wg.Go(func() {
				_, errs[i] = cmdCreate.Propose(testContext(t), n, kvSet{fmt.Sprint("k", round), int64(i)})
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatalf("round %d: both %d and %d have won", round, winner, i)
			case !errors.Is(err, rpcerr.Conflict) || rpcerr.From(err).Hint() != "take another":
				t.Fatalf("round %d: loser got %v", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody has won: %v", round, errs)
		}
		for _, n := range c.nodes {
			if v := fresh(t, n, fmt.Sprint("k", round)); v != int64(winner) {
				t.Fatalf("%s has %d, the winner is %d", n.id, v, winner)
			}
		}
	}
}

func TestErrorsAndPanicsRollBack(t *testing.T) {
	c := startCluster(t, 3)
	set(t, c.nodes[0], "a", 1)
	ctx := testContext(t)
	for _, tt := range []struct {
		cmd  *Command[kvSet, struct{}]
		code rpcerr.Code
	}{{cmdHalf, rpcerr.Precondition}, {cmdPanic, rpcerr.Internal}} {
		for _, n := range c.nodes {
			if _, err := tt.cmd.Propose(ctx, n, kvSet{"a", 2}); rpcerr.Of(err) != tt.code {
				t.Fatalf("%s on %s: %v", tt.cmd.Type, n.id, err)
			}
			if v := fresh(t, n, "a"); v != 1 {
				t.Fatalf("%s left %d", tt.cmd.Type, v)
			}
		}
	}
	_, err := cmdPanic.Propose(ctx, c.nodes[0], kvSet{"a", 2})
	if err == nil || !strings.Contains(err.Error(), "testRegistry") {
		t.Errorf("the error does not say where the panic was: %v", err)
	}
	if a, b := dump(t, c.nodes[0]), dump(t, c.nodes[1]); a != b {
		t.Errorf("nodes differ after a panic:\n%s\n%s", a, b)
	}
	set(t, c.nodes[2], "a", 3) // all goes on
}

func TestRefusalIsFinalWhateverItsCode(t *testing.T) {
	c := startCluster(t, 3)
	for _, n := range c.nodes {
		l := c.leader() // a follower may be behind
		before := l.Stats().LastIndex
		_, err := cmdBusy.Propose(testContext(t), n, kvSet{"a", 1})
		if !errors.Is(err, rpcerr.Exhausted) {
			t.Fatalf("%s: %v", n.id, err)
		}
		if grew := l.Stats().LastIndex - before; grew != 1 {
			t.Errorf("%s: a refused command was tried %d times", n.id, grew)
		}
	}
}

func TestSameRequestIsAppliedOnce(t *testing.T) {
	c := startCluster(t, 3)
	ctx := testContext(t)
	for _, n := range c.nodes {
		if v, err := cmdAdd.Propose(ctx, n, kvSet{"sum", 5}, WithID("r1")); err != nil || v != 5 {
			t.Fatalf("%s: %d, %v", n.id, v, err)
		}
	}
	// An error is remembered too.
	set(t, c.nodes[0], "taken", 1)
	for range 2 {
		if _, err := cmdCreate.Propose(ctx, c.nodes[1], kvSet{"taken", 2}, WithID("r2")); !errors.Is(err, rpcerr.Conflict) {
			t.Fatal(err)
		}
	}
	// After another has become the leader.
	old := c.leader()
	if err := old.HandOver(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another leads", func() bool { return c.leader() != old })
	for _, n := range c.nodes {
		if v, err := cmdAdd.Propose(ctx, n, kvSet{"sum", 5}, WithID("r1")); err != nil || v != 5 {
			t.Fatalf("after a hand-over: %d, %v", v, err)
		}
	}
	if v := fresh(t, c.nodes[2], "sum"); v != 5 {
		t.Fatalf("sum is %d", v)
	}
}

func TestLostAnswerIsAskedAgain(t *testing.T) {
	c := startCluster(t, 3)
	for i, n := range c.others(c.leader()) {
		c.net.loseAnswers.Store(2)
		v, err := cmdAdd.Propose(testContext(t), n, kvSet{"sum", 1})
		if err != nil || v != int64(i+1) {
			t.Fatalf("%d, %v", v, err)
		}
		if left := c.net.loseAnswers.Load(); left >= 0 {
			t.Fatalf("no answer was lost: %d", left)
		}
	}
}

// A write that is on its way when its leader stops may be committed by the
// others, and nobody may be told that nothing was done.
func TestOutcomeIsUnknownWhenTheLeaderStops(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.leader()
	for _, n := range c.others(leader) {
		c.net.isolate(n.id)
	}
	before := leader.raft.LastIndex()
	got := make(chan error, 1)
	go func() {
		_, err := cmdAdd.Propose(testContext(t), leader, kvSet{"sum", 1})
		got <- err
	}()
	eventually(t, "the write is in the leader's log", func() bool { return leader.raft.LastIndex() > before })
	if err := leader.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, rpcerr.Deadline) || errors.Is(err, rpcerr.Unavailable) {
		t.Fatalf("want code deadline only: %v", err)
	}
}

func TestUnknownOutcomeIsSaid(t *testing.T) {
	c := newTestCluster(t)
	c.change = func(cfg *Config) { cfg.LeaderWait = 300 * time.Millisecond }
	c.form(3)
	old := c.leader()
	follower := c.others(old)[0]
	// Every answer is lost: the write is made, and the proposer cannot know.
	c.net.loseAnswers.Store(1 << 30)
	_, err := cmdAdd.Propose(testContext(t), follower, kvSet{"sum", 1}, WithID("r"))
	if !errors.Is(err, rpcerr.Deadline) || errors.Is(err, rpcerr.Unavailable) {
		t.Fatalf("want code deadline only: %v", err)
	}
	c.net.loseAnswers.Store(0)
	eventually(t, "the second try", func() bool { // there may be no leader now
		v, err := cmdAdd.Propose(testContext(t), follower, kvSet{"sum", 1}, WithID("r"))
		if err == nil && v != 1 || err != nil && rpcerr.Of(err) != rpcerr.Unavailable && rpcerr.Of(err) != rpcerr.Deadline {
			t.Fatalf("second try: %d, %v", v, err)
		}
		return err == nil
	})
	// Done, and then the proposer is no controller any more: its own doing.
	c.net.loseAnswers.Store(1)
	c.net.denyAfterLoss.Store(true)
	if _, err := cmdAdd.Propose(testContext(t), follower, kvSet{"sum", 1}); !errors.Is(err, rpcerr.Deadline) || errors.Is(err, rpcerr.Denied) {
		t.Fatalf("want code deadline only: %v", err)
	}
	if _, err := cmdAdd.Propose(testContext(t), follower, kvSet{"sum", 1}); !errors.Is(err, rpcerr.Denied) {
		t.Fatalf("a first try that is refused did nothing: %v", err)
	}
	c.net.denyAfterLoss.Store(false)
	// Nobody reached: surely nothing done.
	c.net.isolate(follower.id)
	eventually(t, "the follower has lost its leader", func() bool { _, _, ok := follower.Leader(); return !ok })
	if _, err = cmdAdd.Propose(testContext(t), follower, kvSet{"sum", 1}); !errors.Is(err, rpcerr.Unavailable) {
		t.Fatalf("want code unavailable: %v", err)
	}
	if rpcerr.From(err).Hint() == "" || !strings.Contains(err.Error(), "300ms") {
		t.Errorf("%v", err)
	}
	// The caller's own deadline comes first.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err = cmdAdd.Propose(ctx, follower, kvSet{"sum", 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestTermFence(t *testing.T) {
	c := startCluster(t, 3)
	ctx := testContext(t)
	old := c.leader()
	term := old.LeadTerm()
	set(t, old, "a", 1, AsTerm(term))
	set(t, c.others(old)[0], "a", 2, AsTerm(term)) // from elsewhere, on behalf of the leader
	if err := old.HandOver(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another leads", func() bool { return c.leader() != old })
	for _, n := range c.nodes {
		if _, err := cmdSet.Propose(ctx, n, kvSet{"a", 3}, AsTerm(term)); !errors.Is(err, rpcerr.Precondition) {
			t.Fatalf("%s wrote with the old term: %v", n.id, err)
		}
	}
	if v := fresh(t, old, "a"); v != 2 {
		t.Fatalf("a is %d", v)
	}
	l := c.leader()
	set(t, l, "a", 4, AsTerm(l.LeadTerm()))
}

func TestBadProposalsStayOutOfTheLog(t *testing.T) {
	c := startCluster(t, 1)
	n := c.nodes[0]
	before := n.Stats().LastIndex
	big := `"` + strings.Repeat("x", maxProposalData) + `"`
	for name, tt := range map[string]struct {
		p    Proposal
		code rpcerr.Code
	}{
		"unknown type":    {Proposal{Type: "nope", Version: 1, Data: []byte(`{}`)}, rpcerr.UnsupportedVersion},
		"unknown version": {Proposal{Type: "kv.set", Version: 9, Data: []byte(`{}`)}, rpcerr.UnsupportedVersion},
		"unknown field":   {Proposal{Type: "kv.set", Version: 1, Data: []byte(`{"kye":"a"}`)}, rpcerr.Invalid},
		"not JSON":        {Proposal{Type: "kv.set", Version: 1, Data: []byte(`{`)}, rpcerr.Invalid},
		"nothing":         {Proposal{Type: "kv.set", Version: 1}, rpcerr.Invalid},
		"two values":      {Proposal{Type: "kv.set", Version: 1, Data: []byte(`{} {}`)}, rpcerr.Invalid},
		"too big":         {Proposal{Type: "kv.delete", Version: 1, Data: []byte(big)}, rpcerr.Invalid},
		"long id":         {Proposal{ID: strings.Repeat("x", 200), Type: "kv.set", Version: 1, Data: []byte(`{}`)}, rpcerr.Invalid},
	} {
		if _, err := n.Propose(testContext(t), tt.p); !errors.Is(err, tt.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := n.Stats().LastIndex; after != before {
		t.Errorf("the log grew from %d to %d", before, after)
	}
}
