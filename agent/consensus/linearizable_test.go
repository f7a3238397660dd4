package consensus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/stackato/stackato/wire/rpcerr"
)

// op is one call of a client on a register.
type op struct {
	kind     string // read, write, cas
	key      int
	old, new int64
}

// answer is what the client saw.
type answer struct {
	value   int64 // read
	swapped bool  // cas
	unknown bool  // nobody knows whether it took place
}

// registers is the sequential model: each key holds a number, 0 at first.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(op).key
			byKey[k] = append(byKey[k], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(int64), input.(op), output.(answer)
		switch in.kind {
		case "read":
			return out.unknown || out.value == s, s
		case "write":
			return true, in.new
		}
		swaps := s == in.old
		if swaps {
			s = in.new
		}
		return out.unknown || out.swapped == swaps, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// recorder collects a history.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
}

// do runs one call. A call that surely had no effect is left out; one whose
// outcome is unknown may take place at any time after it.
func (r *recorder) do(client int, in op, call func() (answer, error)) error {
	began := time.Since(r.start).Nanoseconds()
	out, err := call()
	ended := time.Since(r.start).Nanoseconds()
	if err != nil {
		unknown := !errors.Is(err, rpcerr.Unavailable) && !errors.Is(err, rpcerr.Precondition)
		if in.kind == "read" || !unknown {
			return err
		}
		out, ended = answer{unknown: true}, int64(1)<<62
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: in, Call: began, Output: out, Return: ended})
	return err
}

func TestLinearizable(t *testing.T) {
	length := 4 * time.Second
	if os.Getenv("STACKATO_TEST_LONG") != "" {
		length = 3 * time.Minute
	}
	seed := rand.Uint64()
	if s := os.Getenv("STACKATO_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (set STACKATO_TEST_SEED to repeat it)", seed)
	for _, voters := range []int{3, 5} {
		t.Run(fmt.Sprintf("%d voters", voters), func(t *testing.T) {
			c := newTestCluster(t)
			c.change = func(cfg *Config) { cfg.LeaderWait = 250 * time.Millisecond; cfg.SnapshotThreshold = 200 }
			c.form(voters)
			ctx, cancel := context.WithTimeout(context.Background(), length/2)
			defer cancel()
			rec := &recorder{start: time.Now()}
			var wg sync.WaitGroup
			wg.Go(func() { disturb(ctx, c, rand.New(rand.NewPCG(seed, 1000))) })
			// Unknown outcomes make checking expensive: after each, a client
			// goes on under a new number and at a slower pace.
			for i := range voters + 1 {
				wg.Go(func() {
					client(ctx, c.nodes[i%voters], rec, i, rand.New(rand.NewPCG(seed, uint64(i))))
				})
			}
			wg.Wait()
			c.net.heal()
			for _, n := range c.nodes { // one that was cut off has to find the leader first
				eventually(t, "a leader for "+string(n.id), func() bool { return n.ReadIndex(t.Context()) == nil })
			}
			// All see the same in the end.
			for key := range 4 {
				want := fresh(t, c.nodes[0], fmt.Sprint(key))
				for _, n := range c.nodes {
					if got := fresh(t, n, fmt.Sprint(key)); got != want {
						t.Errorf("key %d: %d and %d", key, want, got)
					}
				}
			}
			unknown := 0
			for _, o := range rec.ops {
				if o.Output.(answer).unknown {
					unknown++
				}
			}
			terms := 0
			for _, n := range c.nodes {
				got, _ := n.leading()
				terms += len(got)
			}
			t.Logf("%d operations, %d of unknown outcome, %d leaderships", len(rec.ops), unknown, terms)
			if len(rec.ops) < 100 {
				t.Error("too few operations to say anything")
			}
			if got := porcupine.CheckOperationsTimeout(registers, rec.ops, time.Minute); got != porcupine.Ok {
				t.Errorf("the history is not linearizable: %v (seed %d)", got, seed)
				explain(t, rec.ops)
			}
		})
	}
}

// explain prints what cannot be ordered.
func explain(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	for _, ops := range registers.Partition(history) {
		if porcupine.CheckOperationsTimeout(registers, ops, time.Minute) == porcupine.Ok {
			continue
		}
		// The shortest beginning that is wrong.
		slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
		n, _ := slices.BinarySearchFunc(ops, true, func(o porcupine.Operation, _ bool) int {
			var begin []porcupine.Operation
			for _, p := range ops {
				if p.Return > o.Return {
					p.Output, p.Return = answer{unknown: true}, int64(1)<<62
				}
				if p.Call <= o.Return && (p.Return <= o.Return || p.Input.(op).kind != "read") {
					begin = append(begin, p)
				}
			}
			if porcupine.CheckOperationsTimeout(registers, begin, time.Minute) == porcupine.Ok {
				return -1
			}
			return 1
		})
		for _, o := range ops[max(0, n-12):min(len(ops), n+2)] {
			t.Logf("client %3d %8d..%8d us  %s", o.ClientId, o.Call/1000, o.Return/1000, registers.DescribeOperation(o.Input, o.Output))
		}
	}
}

// client reads and writes until ctx ends.
func client(ctx context.Context, n *testNode, rec *recorder, id int, rnd *rand.Rand) {
	next := int64(id+1) << 32
	seen := [4]int64{}
	for number := id; ctx.Err() == nil; {
		next++
		in := op{kind: []string{"read", "read", "write", "cas"}[rnd.IntN(4)], key: rnd.IntN(4), new: next}
		in.old = seen[in.key]
		err := rec.do(number, in, func() (answer, error) {
			// The call outlives ctx: each has to end for the history.
			call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			key := fmt.Sprint(in.key)
			switch in.kind {
			case "read":
				if err := n.ReadIndex(call); err != nil {
					return answer{}, err
				}
				v, _ := value(n, key)
				seen[in.key] = v
				return answer{value: v}, nil
			case "write":
				_, err := cmdSet.Propose(call, n, kvSet{key, in.new})
				return answer{}, err
			}
			ok, err := cmdCAS.Propose(call, n, kvCAS{key, in.old, in.new})
			return answer{swapped: ok}, err
		})
		if err != nil {
			number += 100
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rnd.IntN(8)) * time.Millisecond):
		}
	}
}

// disturb cuts and heals links and moves leadership until ctx ends.
func disturb(ctx context.Context, c *testCluster, rnd *rand.Rand) {
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	for ctx.Err() == nil {
		n := c.nodes[rnd.IntN(len(c.nodes))]
		switch rnd.IntN(5) {
		case 0: // any node
			c.net.isolate(n.id)
		case 1: // the leader, with a minority
			for _, l := range c.nodes {
				if l.LeadTerm() > 0 {
					c.net.isolate(l.id)
				}
			}
		case 2: // one direction of one link
			c.net.cutLink(n.id, c.nodes[rnd.IntN(len(c.nodes))].id)
		case 3:
			call, cancel := context.WithTimeout(ctx, time.Second)
			_ = n.HandOver(call) // does nothing where nobody leads
			cancel()
		case 4:
			c.net.loseAnswers.Store(rnd.Int64N(2))
		}
		pause(time.Duration(100+rnd.IntN(250)) * time.Millisecond)
		c.net.heal()
		pause(time.Duration(50+rnd.IntN(150)) * time.Millisecond)
	}
}

// Reads without ReadIndex on a cut-off node are stale, and the check finds it:
// it can fail.
func TestCheckerFindsStaleReads(t *testing.T) {
	c := startCluster(t, 3)
	rec := &recorder{start: time.Now()}
	read := func(id int, n *testNode, call func() error) {
		t.Helper()
		if err := rec.do(id, op{kind: "read"}, func() (answer, error) {
			err := call()
			v, _ := value(n, "0")
			return answer{value: v}, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	write := func(id int, n *testNode, v int64) {
		t.Helper()
		if err := rec.do(id, op{kind: "write", new: v}, func() (answer, error) {
			_, err := cmdSet.Propose(testContext(t), n, kvSet{"0", v})
			return answer{}, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	old := c.leader()
	write(0, old, 1)
	c.net.isolate(old.id)
	others := c.others(old)
	eventually(t, "the others have another leader", func() bool { return others[0].LeadTerm()+others[1].LeadTerm() > 0 })
	write(1, others[0], 2)
	read(2, others[1], func() error { return others[1].ReadIndex(testContext(t)) })
	if got := porcupine.CheckOperationsTimeout(registers, rec.ops, time.Minute); got != porcupine.Ok {
		t.Fatalf("a right history is refused: %v", got)
	}
	read(0, old, func() error { return nil })
	if got := porcupine.CheckOperationsTimeout(registers, rec.ops, time.Minute); got != porcupine.Illegal {
		t.Fatalf("a stale read was not found: %v", got)
	}
}
