package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mesh joins the clusters of one test without a network.
type mesh struct {
	mu     sync.Mutex
	nodes  map[PeerID]*Cluster
	voters []PeerID
	down   map[PeerID]bool // answers with an error
	stuck  map[PeerID]bool // does not answer: in a synctest bubble, or it takes a minute
	cuts   map[PeerID]bool // breaks off in the middle of Get
}

var errDown = errors.New("connection refused")

// newMesh makes nodes a, b, c, …; the first voters of them vote.
func newMesh(t *testing.T, nodes, voters int) *mesh {
	t.Helper()
	m := &mesh{nodes: map[PeerID]*Cluster{}, down: map[PeerID]bool{}, stuck: map[PeerID]bool{}, cuts: map[PeerID]bool{}}
	for i := range nodes {
		id := PeerID(rune('a' + i))
		m.nodes[id] = NewCluster(newDir(t), &line{m, id}, ClusterConfig{
			Stall: time.Minute, Ask: time.Minute, Logger: slog.New(slog.DiscardHandler),
		})
		if i < voters {
			m.voters = append(m.voters, id)
		}
	}
	return m
}

func (m *mesh) is(set map[PeerID]bool, id PeerID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return set[id]
}

func (m *mesh) set(set map[PeerID]bool, id PeerID, to bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	set[id] = to
}

// holders are the nodes that have a blob on disk.
func (m *mesh) holders(t *testing.T, digest string) []PeerID {
	t.Helper()
	var out []PeerID
	for id, c := range m.nodes {
		if _, err := c.local.Stat(t.Context(), digest); err == nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// line is how one node sees the others.
type line struct {
	m    *mesh
	self PeerID
}

func (l *line) List() (all, voters []PeerID, self bool) {
	for id := range l.m.nodes {
		if id != l.self {
			all = append(all, id)
		}
	}
	for _, id := range l.m.voters {
		if id == l.self {
			self = true
		} else {
			voters = append(voters, id)
		}
	}
	return all, voters, self
}

func (l *line) reach(ctx context.Context, peer PeerID) (*Dir, error) {
	if l.m.is(l.m.stuck, peer) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l.m.is(l.m.down, peer) {
		return nil, errDown
	}
	return l.m.nodes[peer].Local(), nil
}

func (l *line) Put(ctx context.Context, peer PeerID, b Blob, r io.Reader) error {
	d, err := l.reach(ctx, peer)
	if err != nil {
		return err
	}
	return d.Receive(ctx, b, r)
}

func (l *line) Get(ctx context.Context, peer PeerID, digest string) (io.ReadCloser, error) {
	d, err := l.reach(ctx, peer)
	if err != nil {
		return nil, err
	}
	r, size, err := d.Open(ctx, digest)
	if err != nil || !l.m.is(l.m.cuts, peer) {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, size/2), r}, nil
}

func (l *line) Has(ctx context.Context, peer PeerID, digest string) (Info, error) {
	d, err := l.reach(ctx, peer)
	if err != nil {
		return Info{}, err
	}
	return d.Stat(ctx, digest)
}

func TestPutReachesAMajority(t *testing.T) {
	tests := []struct {
		name          string
		nodes, voters int
		at            PeerID
		down, stuck   []PeerID
		least         int // voters that must have it; 0: ErrQuorum
	}{
		{"alone", 1, 1, "a", nil, nil, 1},
		{"three", 3, 3, "a", nil, nil, 2},
		{"three, one down", 3, 3, "a", []PeerID{"b"}, nil, 2},
		{"three, one stuck", 3, 3, "b", nil, []PeerID{"c"}, 2},
		{"three, two down", 3, 3, "a", []PeerID{"b", "c"}, nil, 0},
		{"three, one down, one stuck", 3, 3, "a", []PeerID{"b"}, []PeerID{"c"}, 0},
		{"five, two down", 5, 5, "a", []PeerID{"b", "d"}, nil, 3},
		{"five, three down", 5, 5, "a", []PeerID{"b", "d", "e"}, nil, 0},
		{"by a controller that does not vote", 4, 3, "d", nil, nil, 2},
		{"by one that does not vote, one down", 4, 3, "d", []PeerID{"a"}, nil, 2},
		{"by one that does not vote, two down", 4, 3, "d", []PeerID{"a", "c"}, nil, 0},
		{"two controllers, one votes", 2, 1, "a", []PeerID{"b"}, nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, tt.nodes, tt.voters)
				for _, id := range tt.down {
					m.set(m.down, id, true)
				}
				for _, id := range tt.stuck {
					m.set(m.stuck, id, true)
				}
				b, err := m.nodes[tt.at].Put(t.Context(), bytes.NewReader(random(1<<20)), Unlimited)
				if tt.least == 0 {
					if !errors.Is(err, ErrQuorum) {
						t.Fatalf("got %v, want ErrQuorum", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				holders := m.holders(t, b.Digest)
				voting := slices.DeleteFunc(holders, func(id PeerID) bool { return !slices.Contains(m.voters, id) })
				if len(voting) < tt.least {
					t.Errorf("on %v, want %d voters", holders, tt.least)
				}
			})
		})
	}
}

func TestRunBringsTheRest(t *testing.T) {
	m := newMesh(t, 3, 3)
	b := mustPut(t, m.nodes["a"], random(1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.nodes["a"].Run(ctx) }()
	eventually(t, func() bool { return len(m.holders(t, b.Digest)) == 3 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
}

func TestMissingBlobIsProxiedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3, 3)
		content := random(3 << 20)
		b := mustPut(t, m.nodes["a"].local, content) // on a only
		m.set(m.stuck, "b", true)
		got, err := read(t, m.nodes["c"], b.Digest)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		if holders := m.holders(t, b.Digest); !slices.Equal(holders, []PeerID{"a", "c"}) {
			t.Errorf("on %v, want a and c", holders)
		}
		if info, err := m.nodes["c"].Stat(t.Context(), b.Digest); err != nil || info.Blob != b {
			t.Errorf("stat: %v, %v", info, err)
		}
	})
}

// TestProxyWithFullDisk: a controller without room still passes a blob on.
func TestProxyWithFullDisk(t *testing.T) {
	m := newMesh(t, 2, 1)
	content := random(1 << 20)
	b := mustPut(t, m.nodes["a"].local, content)
	m.nodes["b"].local.cfg.Reserve = 1
	m.nodes["b"].local.cfg.Free = func() (int64, error) { return 0, nil }
	got, err := read(t, m.nodes["b"], b.Digest)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	assertEmpty(t, m.nodes["b"].local)
	if _, err := m.nodes["b"].Put(t.Context(), bytes.NewReader(nil), Unlimited); !errors.Is(err, ErrFull) {
		t.Errorf("put: %v", err)
	}
}

func TestProxyFindsDamage(t *testing.T) {
	for _, how := range []string{"damaged", "cut"} {
		t.Run(how, func(t *testing.T) {
			m := newMesh(t, 2, 1)
			b := mustPut(t, m.nodes["a"].local, random(1<<20))
			if how == "cut" {
				m.set(m.cuts, "a", true)
			} else {
				damage(t, m.nodes["a"].local, b.Digest)
			}
			if _, err := read(t, m.nodes["b"], b.Digest); !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			assertEmpty(t, m.nodes["b"].local)
		})
	}
}

func TestAbsentEverywhere(t *testing.T) {
	m := newMesh(t, 3, 3)
	digest := name(nil).Digest
	if _, _, err := m.nodes["a"].Open(t.Context(), digest); !errors.Is(err, ErrNotFound) || errors.Is(err, errDown) {
		t.Errorf("got %v", err)
	}
	// One that cannot be asked might have it: that must be seen.
	m.set(m.down, "b", true)
	if _, err := m.nodes["a"].Stat(t.Context(), digest); !errors.Is(err, errDown) {
		t.Errorf("got %v, want it to name the controller that is down", err)
	}
}

func TestRepair(t *testing.T) {
	m := newMesh(t, 3, 3)
	one, two := mustPut(t, m.nodes["a"].local, random(10)), mustPut(t, m.nodes["b"].local, random(1<<20))
	here := mustPut(t, m.nodes["c"].local, random(20))
	lost := name(random(30))
	live := slices.Values([]string{one.Digest, lost.Digest, here.Digest, two.Digest})
	n, err := m.nodes["c"].Repair(t.Context(), live)
	if n != 2 || !errors.Is(err, ErrNotFound) {
		t.Errorf("fetched %d, %v; want 2 and the loss of one", n, err)
	}
	for _, b := range []Blob{one, two} {
		if !slices.Contains(m.holders(t, b.Digest), "c") {
			t.Errorf("%v was not fetched", b)
		}
	}
}

// TestDoubtfulBlobsAreChecked: those that this process has not hashed yet.
func TestDoubtfulBlobsAreChecked(t *testing.T) {
	m := newMesh(t, 1, 1)
	b := mustPut(t, m.nodes["a"], random(1<<20))
	restart := func() *Cluster {
		d, err := OpenDir(m.nodes["a"].local.cfg)
		if err != nil {
			t.Fatal(err)
		}
		return NewCluster(d, Alone{}, ClusterConfig{})
	}
	c := restart()
	for range 2 { // checked, then trusted
		if got, err := read(t, c, b.Digest); err != nil || name(got) != b {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	r, _, err := c.Open(t.Context(), b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if !r.(*content).trusted {
		t.Error("a blob that was read whole is hashed again")
	}
	damage(t, c.local, b.Digest)
	if _, err := read(t, restart(), b.Digest); !errors.Is(err, ErrCorrupt) {
		t.Errorf("after a restart: %v, want ErrCorrupt", err)
	}
}

// TestDamageIsRepaired is the way of a damaged blob: found by the scrub, seen
// as missing, fetched again.
func TestDamageIsRepaired(t *testing.T) {
	m := newMesh(t, 3, 3)
	content := random(1 << 20)
	b := mustPut(t, m.nodes["a"], content)
	if _, err := m.nodes["b"].Repair(t.Context(), slices.Values([]string{b.Digest})); err != nil {
		t.Fatal(err)
	}
	damage(t, m.nodes["a"].local, b.Digest)
	if n, err := m.nodes["a"].local.Scrub(t.Context(), 1<<30); n != 1 || err != nil {
		t.Fatalf("scrub: %d, %v", n, err)
	}
	if n, err := m.nodes["a"].Repair(t.Context(), slices.Values([]string{b.Digest})); n != 1 || err != nil {
		t.Fatalf("repair: %d, %v", n, err)
	}
	if got, err := read(t, m.nodes["a"].local, b.Digest); err != nil || !bytes.Equal(got, content) {
		t.Errorf("after the repair: %d bytes, %v", len(got), err)
	}
}

// TestPackagesFromAnotherController: a matched file whose package lies only on
// another controller's disk, which can only be streamed.
func TestPackagesFromAnotherController(t *testing.T) {
	m := newMesh(t, 2, 1)
	index := newIndex()
	jar := string(random(100 << 10))
	if _, err := add(t, NewPackages(m.nodes["a"], index, Limits{}), "s", "", makeZip(t, entry{name: "a.jar", content: jar})); err != nil {
		t.Fatal(err)
	}
	other := NewPackages(m.nodes["b"], index, Limits{})
	want := []Resource{resource("lib/a.jar", jar, "600")}
	if known, err := other.Match(t.Context(), []string{"s"}, want); err != nil || len(known) != 1 {
		t.Fatalf("match: %v, %v", known, err)
	}
	b, err := add(t, other, "s", toJSON(t, want), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, m.nodes["b"], b.Digest); got["lib/a.jar"] != "-rw------- "+jar {
		t.Error("the package does not hold the file")
	}
}
