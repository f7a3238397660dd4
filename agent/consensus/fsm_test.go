package consensus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/stackato/stackato/wire/rpcerr"
)

func newTestFSM(t testing.TB, r *Registry) *fsm {
	t.Helper()
	f, err := newFSM(r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func proposal[T, R any](t testing.TB, c *Command[T, R], in T, opts ...Option) Proposal {
	t.Helper()
	p, err := cmdProposal(c, in)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		o(&p)
	}
	return p
}

func entry(t testing.TB, index uint64, p Proposal) *raft.Log {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: data}
}

func applyNext(t testing.TB, f *fsm, p Proposal) outcome {
	t.Helper()
	return f.Apply(entry(t, f.state.Applied()+1, p)).(outcome)
}

// restored returns a new state machine with f's snapshot.
func restored(t testing.TB, f *fsm) *fsm {
	t.Helper()
	g := newTestFSM(t, f.reg)
	if err := g.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, f)))); err != nil {
		t.Fatal(err)
	}
	return g
}

func snapshotOf(t testing.TB, f *fsm) []byte {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	var buf bytes.Buffer
	if err := s.(*snapshot).write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestStateIsAFunctionOfTheLog(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", "b", "c", "ü<&>", "\x00"})
	ids := rapid.SampledFrom([]string{"", "", "r1", "r2", "r3"})
	one := rapid.Custom(func(rt *rapid.T) Proposal {
		in := kvSet{keys.Draw(rt, "key"), rapid.Int64Range(-3, 3).Draw(rt, "value")}
		opts := []Option{WithID(ids.Draw(rt, "id"))}
		if rapid.IntRange(0, 9).Draw(rt, "fenced") == 0 {
			opts = append(opts, AsTerm(rapid.Uint64Range(1, 3).Draw(rt, "term")))
		}
		switch rapid.IntRange(0, 8).Draw(rt, "kind") {
		case 0:
			return proposal(t, cmdCreate, in, opts...)
		case 1:
			return proposal(t, cmdAdd, in, opts...)
		case 2:
			return proposal(t, cmdDelete, in.Key, opts...)
		case 3:
			return proposal(t, cmdHalf, in, opts...)
		case 4:
			return proposal(t, cmdPanic, in, opts...)
		case 5:
			return proposal(t, cmdTermStarted, termStarted{rapid.Uint64Range(1, 3).Draw(rt, "new term"), "n"})
		case 6:
			return proposal(t, cmdReport, memberReport{ID: "m", Capabilities: Capabilities{"z": 1, "a": 2, "m": 3}})
		case 7:
			return proposal(t, cmdCAS, kvCAS{in.Key, in.Value, in.Value + 1}, opts...)
		}
		return proposal(t, cmdSet, in, opts...)
	})
	rapid.Check(t, func(rt *rapid.T) {
		log := rapid.SliceOfN(one, 1, 40).Draw(rt, "log")
		cut := rapid.IntRange(0, len(log)-1).Draw(rt, "snapshot after")
		a, b := newTestFSM(t, testRegistry()), newTestFSM(t, testRegistry())
		for i, p := range log {
			outA, outB := applyNext(t, a, p), applyNext(t, b, p)
			if x, y := mustJSON(outA), mustJSON(outB); x != y {
				rt.Fatalf("entry %d gave %s and %s", i, x, y)
			}
			if i == cut {
				b = restored(t, b)
			}
		}
		if x, y := string(snapshotOf(t, a)), string(snapshotOf(t, b)); x != y {
			rt.Fatalf("states differ:\n%s", cmp.Diff(x, y))
		}
		for _, v := range []int64{-3, 0, 3} { // the second index is rebuilt too
			x := List[kv](a.state.Read(), kvTable, "value", v)
			if y := List[kv](b.state.Read(), kvTable, "value", v); !slices.Equal(x, y) {
				rt.Fatalf("value %d: %v, %v", v, x, y)
			}
		}
	})
}

func mustJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestRequestMemoryForgetsTheOldest(t *testing.T) {
	m := newRequestMemory()
	for i := range 3*rememberedRequests + 7 {
		m.put(fmt.Sprint(i), outcome{Result: []byte("1")})
	}
	first := 2*rememberedRequests + 7
	entries := m.entries()
	if len(entries) != rememberedRequests || entries[0].ID != fmt.Sprint(first) || len(m.byID) != rememberedRequests {
		t.Fatalf("%d entries from %s on, %d by id", len(entries), entries[0].ID, len(m.byID))
	}
	if len(m.order) > 3*rememberedRequests {
		t.Errorf("the queue grows: %d", len(m.order))
	}
	again := newRequestMemory()
	for _, e := range entries {
		again.put(e.ID, e.Outcome)
	}
	// Large results push out more; the state after a restore does the same.
	big := outcome{Result: []byte(`"` + strings.Repeat("x", rememberedBytes/4) + `"`)}
	for i := range 6 {
		m.put(fmt.Sprint("big", i), big)
		again.put(fmt.Sprint("big", i), big)
	}
	if x, y := mustJSON(m.entries()), mustJSON(again.entries()); x != y {
		t.Error("a restored memory forgets others")
	}
	if m.bytes > rememberedBytes {
		t.Errorf("%d bytes", m.bytes)
	}
	if _, ok := m.get("big5"); !ok {
		t.Error("the latest was forgotten")
	}
	if _, ok := m.get(fmt.Sprint(first)); ok {
		t.Error("the oldest stayed")
	}
	m.put("huge", outcome{Result: bytes.Repeat([]byte("x"), rememberedBytes+1)})
	if _, ok := m.get("huge"); !ok || len(m.entries()) != 1 {
		t.Error("one that is larger than all has to push out all others")
	}
}

func TestDamagedSnapshotLeavesTheTables(t *testing.T) {
	f := newTestFSM(t, testRegistry())
	for i := range 50 {
		applyNext(t, f, proposal(t, cmdSet, kvSet{fmt.Sprint(i), int64(i)}, WithID(fmt.Sprint("r", i))))
	}
	good := snapshotOf(t, f)
	target := newTestFSM(t, testRegistry())
	applyNext(t, target, proposal(t, cmdSet, kvSet{"mine", 1}))
	before := string(snapshotOf(t, target))
	lines := bytes.SplitAfter(good, []byte("\n"))
	dropped := slices.Concat(slices.Delete(slices.Clone(lines), 5, 6)...)
	bad := map[string][]byte{
		"empty":        nil,
		"no end":       good[:bytes.LastIndex(good, []byte(`{"end"`))],
		"line dropped": dropped,
		"more after":   append(slices.Clone(good), good...),
		"other format": bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1),
		"other line":   bytes.Replace(good, []byte(`{"t":"kv"`), []byte(`{"new":1,"t":"kv"`), 1),
		"other column": bytes.Replace(good, []byte(`"Value":`), []byte(`"Valeu":`), 1),
		"no key":       bytes.Replace(good, []byte(`"ID":"7"`), []byte(`"ID":""`), 1),
	}
	for i := 1; i < len(good); i += 97 {
		bad[fmt.Sprint("cut at ", i)] = good[:i]
	}
	for name, data := range bad {
		if err := target.Restore(io.NopCloser(bytes.NewReader(data))); err == nil {
			t.Errorf("%s: restored", name)
		}
		if target.halted() {
			t.Errorf("%s: halted", name)
		}
		if after := string(snapshotOf(t, target)); after != before {
			t.Fatalf("%s: the tables have changed", name)
		}
	}
	if err := target.Restore(io.NopCloser(bytes.NewReader(good))); err != nil {
		t.Fatal(err)
	}
	if string(snapshotOf(t, target)) != string(good) {
		t.Error("the whole snapshot gives another state")
	}
}

func TestUnknownTableStopsTheNode(t *testing.T) {
	wide := testRegistry()
	AddTable[kv](wide, &memdb.TableSchema{Name: "later", Indexes: map[string]*memdb.IndexSchema{
		"id": {Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "ID"}},
	}})
	Register(wide, "later.set", 1, func(tx *Tx, in kvSet) (struct{}, error) {
		return struct{}{}, Put(tx, "later", kv{in.Key, in.Value, tx.Index})
	})
	c := newTestCluster(t)
	c.disk, c.reg = true, func() *Registry { return wide }
	c.form(1)
	n := c.nodes[0]
	if _, err := (&Command[kvSet, struct{}]{"later.set", 1}).Propose(testContext(t), n, kvSet{"x", 1}); err != nil {
		t.Fatal(err)
	}
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	c.reg = testRegistry
	_, err := c.open(n.id, n.dir)
	var unknown *UnknownTableError
	if !errors.As(err, &unknown) || unknown.Table != "later" || !strings.Contains(err.Error(), "install the version") {
		t.Fatalf("want an UnknownTableError: %v", err)
	}
	c.reg = func() *Registry { return wide }
	n = c.start(n.id, n.dir)
	set(t, n, "a", 1)
}

func TestUnknownCommandStopsTheNode(t *testing.T) {
	c := newTestCluster(t)
	c.disk = true
	c.reg = func() *Registry { return newer(testRegistry()) }
	c.form(3)
	old := c.others(c.leader())[0]
	set(t, old, "a", 1)
	if err := old.stop(); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	l := c.leader()
	// While the member is down, a command is used that it will not know when
	// it comes back in an older version.
	if _, err := cmdNew.Propose(ctx, l, kvSet{"b", 2}); err != nil {
		t.Fatal(err)
	}
	set(t, l, "a", 3)
	c.reg = testRegistry
	again := c.start(old.id, old.dir)
	err := <-again.done
	var unknown *UnknownCommandError
	if !errors.As(err, &unknown) || unknown.Type != cmdNew.Type || unknown.Version != 2 {
		t.Fatalf("want an UnknownCommandError: %v", err)
	}
	if !strings.Contains(err.Error(), "install the version") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	if v, _ := value(again, "a"); v != 1 || again.State().Applied() >= unknown.Index {
		t.Errorf("the tables went on: a is %d, applied %d, unknown %d", v, again.State().Applied(), unknown.Index)
	}
	if _, err := again.fsm.Snapshot(); err == nil {
		t.Error("a stopped state machine makes snapshots")
	}
	if err := again.fsm.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, l.fsm)))); err == nil {
		t.Error("a stopped state machine takes snapshots")
	}
	c.reg = func() *Registry { return newer(testRegistry()) }
	again = c.start(old.id, old.dir)
	if v := fresh(t, again, "b"); v != 2 {
		t.Errorf("with the right version: b is %d", v)
	}
}

func TestCommandThatAMemberDoesNotKnowIsNotLogged(t *testing.T) {
	c := newTestCluster(t)
	c.reg = func() *Registry {
		if len(c.nodes) == 2 { // the third node is an old build
			return testRegistry()
		}
		return newer(testRegistry())
	}
	c.form(3)
	for c.leader().id == "n2" {
		if err := c.leader().HandOver(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	l := c.leader()
	before := l.Stats().LastIndex
	for _, n := range c.nodes {
		_, err := cmdNew.Propose(testContext(t), n, kvSet{"a", 1})
		if !errors.Is(err, rpcerr.UnsupportedVersion) || !strings.Contains(err.Error(), "n2") || rpcerr.From(err).Hint() == "" {
			t.Fatalf("%s: %v", n.id, err)
		}
	}
	if after := l.Stats().LastIndex; after != before {
		t.Fatalf("the log grew from %d to %d", before, after)
	}
	// Upgraded, it reports, and the command is taken.
	old := c.net.node("n2")
	if err := old.stop(); err != nil {
		t.Fatal(err)
	}
	c.nodes = c.others(old)
	c.reg = func() *Registry { return newer(testRegistry()) }
	old = c.start("n2", "")
	eventually(t, "the new build follows", func() bool { _, _, ok := old.Leader(); return ok })
	if err := old.ReportSelf(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := cmdNew.Propose(testContext(t), old, kvSet{"a", 1}); err != nil {
		t.Fatal(err)
	}
	index := l.Stats().LastIndex
	if err := l.Report(testContext(t), "n2", l.reg.Capabilities()); err != nil || l.Stats().LastIndex != index {
		t.Errorf("reporting what is known already was logged (%v)", err)
	}
}

func TestEntryOfAnotherBuildStopsTheNode(t *testing.T) {
	for name, data := range map[string]string{
		"not JSON":        `{`,
		"other envelope":  `{"type":"kv.set","v":1,"data":{},"extra":1}`,
		"other input":     `{"type":"kv.set","v":1,"data":{"kye":"a"}}`,
		"unknown version": `{"type":"kv.set","v":2,"data":{}}`,
		"trailing":        `{"type":"kv.set","v":1,"data":{}} x`,
	} {
		f := newTestFSM(t, testRegistry())
		applyNext(t, f, proposal(t, cmdSet, kvSet{"a", 1}))
		out := f.Apply(&raft.Log{Index: 2, Type: raft.LogCommand, Data: []byte(data)}).(outcome)
		if out.Err == nil || !out.Err.Retryable || !f.halted() || f.state.Applied() != 1 {
			t.Errorf("%s: %v, halted %v, applied %d", name, out.Err, f.halted(), f.state.Applied())
		}
		out = applyNext(t, f, proposal(t, cmdSet, kvSet{"a", 2}))
		if row, _ := Get[kv](f.state.Read(), kvTable, "id", "a"); row.Value != 1 || out.Err == nil {
			t.Errorf("%s: the tables moved on", name)
		}
	}
}

func TestWatch(t *testing.T) {
	f := newTestFSM(t, testRegistry())
	applyNext(t, f, proposal(t, cmdSet, kvSet{"a", 1}))
	other := newTestFSM(t, testRegistry())
	applyNext(t, other, proposal(t, cmdSet, kvSet{"a", 9}))
	snap := snapshotOf(t, other)
	for name, tt := range map[string]struct {
		read   func(v *View)
		change func()
	}{
		"row":         {func(v *View) { Get[kv](v, kvTable, "id", "a") }, func() { applyNext(t, f, proposal(t, cmdSet, kvSet{"a", 2})) }},
		"absent row":  {func(v *View) { Get[kv](v, kvTable, "id", "z") }, func() { applyNext(t, f, proposal(t, cmdSet, kvSet{"z", 2})) }},
		"list":        {func(v *View) { List[kv](v, kvTable, "id") }, func() { applyNext(t, f, proposal(t, cmdSet, kvSet{"b", 2})) }},
		"second list": {func(v *View) { List[kv](v, kvTable, "value", int64(5)) }, func() { applyNext(t, f, proposal(t, cmdSet, kvSet{"c", 5})) }},
		"deletion":    {func(v *View) { Get[kv](v, kvTable, "id", "b") }, func() { applyNext(t, f, proposal(t, cmdDelete, "b")) }},
		"restore": {func(v *View) { Get[kv](v, kvTable, "id", "a") }, func() {
			if err := f.Restore(io.NopCloser(bytes.NewReader(snap))); err != nil {
				t.Error(err)
			}
		}},
	} {
		if name == "deletion" {
			applyNext(t, f, proposal(t, cmdSet, kvSet{"b", 1}))
		}
		read, woken := make(chan struct{}), make(chan error, 1)
		ctx := testContext(t)
		go func() {
			woken <- f.state.Watch(ctx, func(v *View) { tt.read(v); close(read) })
		}()
		<-read
		tt.change()
		if err := <-woken; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What was not looked at does not wake (not promised, but the reason to
	// have it), and an ended context does.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := f.state.Watch(ctx, func(v *View) {
		Get[kv](v, kvTable, "id", "a")
		applyNext(t, f, proposal(t, cmdReport, memberReport{ID: "m"}))
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestViewsDoNotMove(t *testing.T) {
	f := newTestFSM(t, testRegistry())
	applyNext(t, f, proposal(t, cmdSet, kvSet{"a", 1}))
	v := f.state.Read()
	applyNext(t, f, proposal(t, cmdSet, kvSet{"a", 2}))
	if row, _ := Get[kv](v, kvTable, "id", "a"); row.Value != 1 || v.Index() != 1 {
		t.Errorf("the view shows %d at %d", row.Value, v.Index())
	}
	row, _ := Get[kv](f.state.Read(), kvTable, "id", "a")
	row.Value = 99 // a copy
	t.Logf("changed to %d", row.Value)
	if again, _ := Get[kv](f.state.Read(), kvTable, "id", "a"); again.Value != 2 {
		t.Error("a row from the store could be changed")
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"type":"kv.set","v":1,"data":{"key":"a","value":1}}`))
	f.Add([]byte(`{"id":"x","type":"kv.half","v":1,"term":3,"data":{"key":"","value":-1}}`))
	f.Add([]byte(`{"type":"consensus.report","v":1,"data":{"id":"","capabilities":{"a":1}}}`))
	f.Add([]byte(`{"type":"kv.delete","v":1,"data":null}`))
	f.Add([]byte{0xff, '{'})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := newTestFSM(t, testRegistry()), newTestFSM(t, testRegistry())
		l := &raft.Log{Index: 1, Type: raft.LogCommand, Data: data}
		outA, outB := a.Apply(l).(outcome), b.Apply(l).(outcome)
		if mustJSON(outA) != mustJSON(outB) || a.halted() != b.halted() {
			t.Fatalf("two nodes differ: %v, %v", outA, outB)
		}
		if a.halted() {
			if a.state.Applied() != 0 {
				t.Fatal("halted, and the tables moved")
			}
			return
		}
		if string(snapshotOf(t, a)) != string(snapshotOf(t, restored(t, a))) {
			t.Fatal("the snapshot gives another state")
		}
	})
}

func FuzzReadSnapshot(f *testing.F) {
	m := newTestFSM(f, testRegistry())
	for i := range 3 {
		applyNext(f, m, proposal(f, cmdSet, kvSet{fmt.Sprint(i), int64(i)}, WithID(fmt.Sprint(i))))
	}
	f.Add(snapshotOf(f, m))
	f.Add([]byte(`{"format":1,"applied":3}{"end":0}`))
	f.Add([]byte(`{"format":1,"applied":3}{"t":"kv","r":{"ID":"x"},"q":{"id":"r"}}{"end":1}`))
	f.Add([]byte(`{"format":1}{"t":"kv","r":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newTestFSM(t, testRegistry())
		if err := g.Restore(io.NopCloser(bytes.NewReader(data))); err != nil {
			if g.state.Applied() != 0 || len(List[kv](g.state.Read(), kvTable, "id")) > 0 {
				t.Fatal("refused, and the tables changed")
			}
			return
		}
		if string(snapshotOf(t, g)) != string(snapshotOf(t, restored(t, g))) {
			t.Fatal("what was restored does not survive another round")
		}
	})
}
