package member

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/stackato/stackato/agent/node"
)

// neverLost checks, until stop, that no member sees another one dead.
func neverLost(t *testing.T, ms []*testMember) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var watchers sync.WaitGroup
	for _, m := range ms {
		changed, unsubscribe := m.Subscribe()
		watchers.Go(func() {
			defer unsubscribe()
			for {
				for _, o := range m.Members() {
					if o.State == Dead || o.State == Left {
						t.Errorf("%s sees %s %s", m.cfg.Name, o.Meta.Name, o.State)
						return
					}
				}
				select {
				case <-changed:
				case <-done:
					return
				}
			}
		})
	}
	return func() { close(done); watchers.Wait() }
}

// probed waits until every member has gone on talking to all others.
func probed(t *testing.T, ms []*testMember) {
	t.Helper()
	before := make([]uint64, len(ms))
	for i, m := range ms {
		before[i] = m.Stats().Traffic.PacketsReceived
	}
	for i, m := range ms {
		eventually(t, "packets go on", func() bool {
			return m.Stats().Traffic.PacketsReceived > before[i]+uint64(2*len(ms))
		})
	}
}

func TestKeyRotation(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 4)
	stop := neverLost(t, ms)
	for _, m := range ms { // mixed for a while: each step is on some members only
		if err := m.InstallKey(otherKey); err != nil {
			t.Fatal(err)
		}
		probed(t, ms)
	}
	for _, m := range ms {
		if err := m.UseKey(otherKey); err != nil {
			t.Fatal(err)
		}
		probed(t, ms)
	}
	for _, m := range ms {
		if err := m.RemoveKey(testKey); err != nil {
			t.Fatal(err)
		}
		probed(t, ms)
	}
	stop()
	waitConverged(t, ms...)
	for _, m := range ms {
		if keys := m.Keys(); len(keys) != 1 || !bytes.Equal(keys[0], otherKey) {
			t.Errorf("%s has a ring of %d keys", m.cfg.Name, len(keys))
		}
	}

	cfg := testConfig(t, n, "with-new-key")
	cfg.Keys = [][]byte{otherKey}
	fresh := run(t, cfg)
	mustJoin(t, fresh, ms[0])
	waitConverged(t, append(ms, fresh)...)

	old := run(t, testConfig(t, n, "with-old-key"))
	if got, err := old.Join(t.Context(), []string{ms[0].Addr().String()}); got != 0 || err == nil {
		t.Errorf("the old key still lets in: %d answered, %v", got, err)
	}
}

// The order of a rotation matters; this is what the test above would see.
func TestKeyUsedTooEarly(t *testing.T) {
	ms := cluster(t, NewNetwork(), 3)
	if err := ms[0].InstallKey(otherKey); err != nil {
		t.Fatal(err)
	}
	if err := ms[0].UseKey(otherKey); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the one with the new key is lost", func() bool { return ms[1].sees(ms[0]) == Dead })
	if err := ms[0].UseKey(testKey); err != nil {
		t.Fatal(err)
	}
	mustJoin(t, ms[0], ms[1])
	waitConverged(t, ms...)
}

// settle lets every member do several full syncs and rounds of gossip.
func settle(t *testing.T, ms ...*testMember) {
	t.Helper()
	from := make([]Traffic, len(ms))
	for i, m := range ms {
		from[i] = m.Stats().Traffic
	}
	for i, m := range ms {
		eventually(t, "some full syncs", func() bool {
			now := m.Stats().Traffic
			return now.StreamsOpened >= from[i].StreamsOpened+2 && now.PacketsSent > from[i].PacketsSent+10
		})
	}
}

func TestWithoutTheKeyNobodyIsIn(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 2)
	cfg := testConfig(t, n, "outsider")
	cfg.Keys = [][]byte{otherKey}
	cfg.Seeds = func() []string { return []string{ms[0].Addr().String(), ms[1].Addr().String()} }
	outsider := run(t, cfg)
	got, err := outsider.Join(t.Context(), []string{ms[0].Addr().String()})
	if got != 0 || err == nil || !strings.Contains(err.Error(), "keys differ") {
		t.Errorf("Join: %d answered, %v", got, err)
	}
	eventually(t, "the outsider tries on", func() bool { return outsider.Stats().Rejoins > 3 })
	settle(t, ms...)
	if ms[0].sees(outsider) != "" || ms[1].sees(outsider) != "" || outsider.NumAlive() != 1 {
		t.Error("the outsider is in")
	}
}

func TestOtherClusterIsRefused(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 2)
	cfg := testConfig(t, n, "stranger")
	cfg.ClusterID = "00000000-6f0c-4b53-9d39-7a5b6e1b0c11"
	stranger := run(t, cfg)
	got, err := stranger.Join(t.Context(), []string{ms[0].Addr().String()})
	if got != 0 || err == nil || !strings.Contains(err.Error(), "belongs to cluster "+testCluster) {
		t.Errorf("Join: %d answered, %v", got, err)
	}
	if _, err := ms[0].Join(t.Context(), []string{stranger.Addr().String()}); err == nil {
		t.Error("joining the other cluster succeeds")
	}
	eventually(t, "it is counted", func() bool { return ms[0].Stats().Refused > 0 && stranger.Stats().Refused > 0 })
	settle(t, ms...)
	if ms[0].sees(stranger) != "" || ms[1].sees(stranger) != "" || stranger.NumAlive() != 1 {
		t.Error("the stranger is in")
	}
}

// A member with the key that does not refuse anybody itself, as of a changed
// program, learns who is there and gossips its presence. It is not taken in.
func TestRogueIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Meta){
		"other cluster": func(m *Meta) { m.ClusterID = "00000000-6f0c-4b53-9d39-7a5b6e1b0c11" },
		"other id":      func(m *Meta) { m.ID = node.NewID() },
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNetwork()
			ms := cluster(t, n, 2)
			rogue := &testMember{cfg: testConfig(t, n, "rogue")}
			meta := Meta{ClusterID: testCluster, ID: rogue.cfg.ID, Name: "rogue"}
			change(&meta)
			encoded, err := meta.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			c, _, _ := Test.settings()
			c.Name, c.SecretKey, c.Delegate = string(rogue.cfg.ID), testKey, rogueMeta{encoded: encoded}
			c.LogOutput = io.Discard
			if c.Transport, err = rogue.cfg.Endpoint.open(); err != nil {
				t.Fatal(err)
			}
			list, err := memberlist.Create(c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = list.Shutdown() })
			if _, err := list.Join([]string{ms[0].Addr().String()}); err != nil {
				t.Fatal(err)
			}
			if got := list.NumMembers(); got != 3 {
				t.Fatalf("the rogue sees %d members, the test needs 3", got)
			}
			eventually(t, "its gossip is refused", func() bool { return ms[0].Stats().Refused+ms[1].Stats().Refused > 3 })
			settle(t, ms...)
			for _, m := range ms {
				if m.NumAlive() != 2 || m.sees(rogue) != "" || len(m.Members()) != 2 {
					t.Errorf("%s has taken it in", m.cfg.Name)
				}
			}
		})
	}
}

type rogueMeta struct {
	hooks
	encoded []byte
}

func (r rogueMeta) NodeMeta(int) []byte           { return r.encoded }
func (r rogueMeta) LocalState(bool) []byte        { return nil }
func (r rogueMeta) MergeRemoteState([]byte, bool) {}

// A copy of a data directory on a second machine does not take the first
// one's place.
func TestConflictingID(t *testing.T) {
	n := NewNetwork()
	cfg := testConfig(t, n, "n0")
	var out lockedBuffer
	cfg.Logger = testLogger(t, &out)
	first := run(t, cfg)
	second := run(t, testConfig(t, n, "n1"))
	mustJoin(t, second, first)
	waitConverged(t, first, second)

	clone := testConfig(t, n, "clone")
	clone.ID = second.cfg.ID
	impostor := run(t, clone)
	// What Join says does not matter: the others must not take it in.
	_, _ = impostor.Join(t.Context(), []string{first.Addr().String()})
	eventually(t, "the conflict is counted", func() bool { return first.Stats().Conflicts > 0 })
	o, _ := first.Member(second.cfg.ID)
	if o.Addr != second.Addr() || o.Meta.Name != "n1" || o.State == Dead {
		t.Errorf("the first one's place is taken: %+v", o)
	}
	for _, want := range []string{"two machines claim one node id", "empty its data directory", impostor.Addr().String()} {
		eventually(t, "the log says "+want, func() bool { return strings.Contains(out.String(), want) })
	}
}

// A node that comes back at another address is let in once it is known dead.
func TestNewAddress(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 3)
	ms[2].crash()
	<-ms[2].result
	eventually(t, "it is dead", func() bool { return ms[0].sees(ms[2]) == Dead && ms[1].sees(ms[2]) == Dead })
	cfg := ms[2].cfg
	cfg.Endpoint = n.NewEndpoint()
	cfg.Seeds = func() []string { return []string{ms[0].Addr().String(), ms[1].Addr().String()} }
	moved := run(t, cfg)
	eventually(t, "it is in at the new address", func() bool {
		_, _ = moved.Join(t.Context(), []string{ms[0].Addr().String()})
		a, _ := ms[0].Member(cfg.ID)
		b, _ := ms[1].Member(cfg.ID)
		return a.State == Alive && b.State == Alive && a.Addr == moved.Addr() && b.Addr == moved.Addr()
	})
}

func TestRealNetwork(t *testing.T) {
	var ms []*testMember
	for i := range 3 {
		cfg := testConfig(t, NewNetwork(), fmt.Sprintf("n%d", i))
		cfg.Endpoint, cfg.BindAddr = nil, "127.0.0.1"
		if i == 2 {
			cfg.BindAddr, cfg.AdvertiseAddr = "", "127.0.0.1"
		}
		ms = append(ms, run(t, cfg))
		if i > 0 {
			mustJoin(t, ms[i], ms[0])
		}
	}
	waitConverged(t, ms...)
	settle(t, ms...)

	taken := testConfig(t, NewNetwork(), "second")
	taken.Endpoint, taken.BindAddr, taken.Port = nil, "127.0.0.1", int(ms[0].Addr().Port())
	g, err := New(taken)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Run on a taken port: %v", err)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("Run can be called twice")
	}

	if err := ms[1].Leave(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	ms[2].crash()
	eventually(t, "left and dead are told apart", func() bool {
		return ms[0].sees(ms[1]) == Left && ms[0].sees(ms[2]) == Dead
	})
	if tr := ms[0].Stats().Traffic; tr.PacketBytesSent == 0 || tr.StreamBytesSent == 0 || tr.StreamBytesReceived == 0 || tr.PacketsReceived == 0 {
		t.Errorf("traffic is not counted: %+v", tr)
	}
}

// What another member sends of those that left is read with care.
func FuzzMergeLeft(f *testing.F) {
	tab := newTable("self", time.Hour, time.Minute)
	id := node.NewID()
	tab.seen(Meta{ID: id, Started: time.UnixMilli(5).UTC()}, noAddr)
	tab.gone(id, true)
	f.Add(tab.encodeLeft())
	f.Add([]byte{1, 0xff, 0xff, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		tab := newTable("self", time.Hour, time.Minute)
		tab.seen(Meta{ID: id, Started: time.UnixMilli(5).UTC()}, noAddr)
		tab.mergeLeft(b)
		if m, _ := tab.get(id); m.State != Alive || len(tab.list()) != 1 {
			t.Fatalf("a member that is alive became %s", m.State)
		}
	})
}
