package consensus

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// content is all that a storage holds, to compare before and after damage.
type content struct {
	First, Last uint64
	Logs        map[uint64]raft.Log
	Stable      map[string]string
	Snapshots   []*raft.SnapshotMeta
	State       string
}

func readContent(t *testing.T, s *storage) content {
	t.Helper()
	c := content{Logs: map[uint64]raft.Log{}, Stable: map[string]string{}}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.First, err = s.logs.FirstIndex()
	must(err)
	c.Last, err = s.logs.LastIndex()
	must(err)
	for i := c.First; i <= c.Last; i++ {
		var l raft.Log
		if err := s.logs.GetLog(i, &l); err != nil {
			if errors.Is(err, raft.ErrLogNotFound) {
				continue
			}
			t.Fatal(err)
		}
		l.AppendedAt = time.Time{} // Raft uses it for metrics only
		c.Logs[i] = l
	}
	for _, k := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		v, err := s.stable.Get([]byte(k))
		if err != nil && err.Error() != "not found" {
			t.Fatal(err)
		}
		c.Stable[k] = string(v)
	}
	c.Snapshots, err = s.snapshots.List()
	must(err)
	for _, m := range c.Snapshots {
		m.Peers = nil // of an older protocol
	}
	if len(c.Snapshots) > 0 {
		_, rc, err := s.snapshots.Open(c.Snapshots[0].ID)
		must(err)
		raw, err := io.ReadAll(rc)
		must(err)
		must(rc.Close())
		c.State = string(raw)
	}
	return c
}

// dataDir makes a data directory with a few hundred entries of all sizes, and
// snapshots if wanted.
func dataDir(t *testing.T, snapshots bool) string {
	t.Helper()
	c := newTestCluster(t)
	c.disk = true
	c.form(1)
	n := c.nodes[0]
	big := strings.Repeat("k", 3000)
	for i := range 120 {
		key := fmt.Sprint("key", i)
		if i%17 == 0 {
			key += big
		}
		set(t, n, key, int64(i))
		if snapshots && i%50 == 49 {
			if err := n.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	return n.dir
}

func quiet() hclog.Logger { return hclog.NewNullLogger() }

func TestFlippedBytesOfTheLogAreFound(t *testing.T) {
	dir := dataDir(t, false)
	path := filepath.Join(dir, "log.db")
	s, err := openStorage(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	want := readContent(t, s)
	if len(want.Logs) < 120 || want.Stable["CurrentTerm"] == "" {
		t.Fatalf("the data are too small for this test: %d entries", len(want.Logs))
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d, file of %d pages", seed, len(good)/4096)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var offsets []int
	perPage := 12
	if testing.Short() {
		perPage = 4
	}
	for page := 0; page < len(good); page += 4096 {
		for range perPage {
			offsets = append(offsets, page+rnd.IntN(96)) // headers
		}
		for range perPage {
			offsets = append(offsets, page+rnd.IntN(4096))
		}
	}
	found := 0
	for _, at := range offsets {
		bad := append([]byte(nil), good...)
		bad[at] ^= byte(1 << rnd.IntN(8))
		if rnd.IntN(4) == 0 {
			bad[at] = byte(rnd.Uint32())
		}
		writeFile(t, path, bad)
		if checkDamage(t, dir, want, fmt.Sprintf("byte %d (page %d + %d)", at, at/4096, at%4096)) {
			found++
		}
	}
	if found < len(offsets)/20 {
		t.Errorf("only %d of %d flips were found: the test does not reach what is in use", found, len(offsets))
	}
	// The last pages, whole.
	for page := len(good) - 4096; page > 0 && page > len(good)-8*4096; page -= 4096 {
		bad := append([]byte(nil), good...)
		for i := range 4096 {
			bad[page+i] = byte(rnd.Uint32())
		}
		writeFile(t, path, bad)
		checkDamage(t, dir, want, fmt.Sprintf("page %d", page/4096))
	}
	for size := 0; size < len(good); size += 1000 + rnd.IntN(20000) {
		writeFile(t, path, good[:size])
		checkDamage(t, dir, want, fmt.Sprintf("cut at %d", size))
	}
	writeFile(t, path, nil)
	if !checkDamage(t, dir, want, "empty file") {
		t.Error("an empty file was taken for a new one")
	}
}

// checkDamage opens a damaged directory: either the damage is named, or it
// touched nothing that is in use.
func checkDamage(t *testing.T, dir string, want content, what string) (found bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%s: panic: %v", what, r)
		}
	}()
	s, err := openStorage(dir, quiet())
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		if !strings.HasPrefix(corrupt.Path, dir) || !strings.Contains(err.Error(), "kato node remove") {
			t.Fatalf("%s: %v", what, err)
		}
		return true
	case err != nil:
		t.Fatalf("%s: want a CorruptError: %v", what, err)
	}
	defer s.close()
	if got := readContent(t, s); !reflect.DeepEqual(want, got) {
		t.Fatalf("%s: was not noticed:\n%s", what, cmp.Diff(want, got))
	}
	return false
}

func TestDamagedSnapshotsAreFound(t *testing.T) {
	dir := dataDir(t, true)
	s, err := openStorage(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	want := readContent(t, s)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	newest := filepath.Join(dir, "snapshots", want.Snapshots[0].ID)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"state.bin", "meta.json", metaSumFile} {
		path := filepath.Join(newest, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		step := max(1, len(good)/150)
		for at := 0; at < len(good); at += step {
			bad := append([]byte(nil), good...)
			bad[at] ^= byte(1 << rnd.IntN(8))
			writeFile(t, path, bad)
			checkDamage(t, dir, want, fmt.Sprintf("%s byte %d (%q)", name, at, good[at]))
		}
		for _, size := range []int{0, len(good) / 2, len(good) - 2} {
			writeFile(t, path, good[:size])
			if !checkDamage(t, dir, want, fmt.Sprintf("%s cut at %d", name, size)) {
				t.Errorf("%s cut at %d was not found", name, size)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if !checkDamage(t, dir, want, name+" missing") {
			t.Errorf("missing %s was not found", name)
		}
		writeFile(t, path, good)
	}
	if checkDamage(t, dir, want, "repaired") {
		t.Error("good data were refused")
	}
	// A missing log beside snapshots, and missing snapshots beside a log.
	if err := os.Rename(filepath.Join(dir, "log.db"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	if !checkDamage(t, dir, want, "no log") {
		t.Error("a missing log was not found")
	}
}

func TestMissingEntriesAreFound(t *testing.T) {
	c := newTestCluster(t)
	c.disk = true
	c.change = func(cfg *Config) { cfg.SnapshotThreshold = 5 }
	c.form(1)
	n := c.nodes[0]
	for i := range 60 {
		set(t, n, "a", int64(i))
	}
	eventually(t, "the log was cut", func() bool {
		if err := n.Snapshot(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			t.Fatal(err)
		}
		first, err := n.store.logs.FirstIndex()
		return err == nil && first > 10
	})
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	snapshots := filepath.Join(n.dir, "snapshots")
	if err := os.RemoveAll(snapshots); err != nil {
		t.Fatal(err)
	}
	_, err := c.open(n.id, n.dir)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "no snapshot covers them") {
		t.Fatalf("want a CorruptError: %v", err)
	}
}

func TestOpenNamesTheDamage(t *testing.T) {
	dir := dataDir(t, false)
	path := filepath.Join(dir, "log.db")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(good), `"key":"key118"`)
	if at < 0 {
		t.Fatal("the last entry is not in the file as text")
	}
	good[at+8] ^= 1
	writeFile(t, path, good)
	c := newTestCluster(t)
	_, err = c.open("n0", dir)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Path != path {
		t.Fatalf("want a CorruptError for %s: %v", path, err)
	}
}

func TestOpenTwice(t *testing.T) {
	c := newTestCluster(t)
	c.disk = true
	c.form(1)
	_, err := c.open("other", c.nodes[0].dir)
	if err == nil || !strings.Contains(err.Error(), "is in use: is another stackato-agent running") {
		t.Fatalf("want an error that says it is in use: %v", err)
	}
	set(t, c.nodes[0], "a", 1) // the first one goes on
}

func TestRestartKeepsEverything(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprintf("snapshot %v", snapshot), func(t *testing.T) {
			c := newTestCluster(t)
			c.disk = true
			c.form(3)
			ctx := testContext(t)
			if _, err := cmdAdd.Propose(ctx, c.nodes[1], kvSet{"sum", 5}, WithID("r1")); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				set(t, c.nodes[i%3], fmt.Sprint("k", i), int64(i))
			}
			before := dump(t, c.nodes[0])
			if snapshot {
				for _, n := range c.nodes {
					if err := n.Snapshot(); err != nil {
						t.Fatal(err)
					}
				}
			}
			old := append([]*testNode(nil), c.nodes...)
			for _, n := range old {
				if err := n.stop(); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range old {
				again := c.start(n.id, n.dir)
				if has, err := again.HasState(); err != nil || !has {
					t.Fatalf("HasState after a restart: %v, %v", has, err)
				}
				if err := again.Bootstrap(); err == nil {
					t.Fatal("Bootstrap worked over existing data")
				}
			}
			c.leader()
			if v, err := cmdAdd.Propose(ctx, c.nodes[2], kvSet{"sum", 5}, WithID("r1")); err != nil || v != 5 {
				t.Fatalf("the same request after a restart: %d, %v", v, err)
			}
			for _, n := range c.nodes {
				if got := withoutLeader(dump(t, n)); got != withoutLeader(before) {
					t.Fatalf("%s differs after the restart:\n%s", n.id, cmp.Diff(withoutLeader(before), got))
				}
			}
		})
	}
}

// withoutLeader drops from a dump what an election changes.
func withoutLeader(dump string) string {
	var out []string
	for _, l := range strings.Split(dump, "\n") {
		if !strings.Contains(l, `"t":"consensus_leader"`) && !strings.Contains(l, `{"format":`) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func TestMemberThatGotASnapshotRestarts(t *testing.T) {
	c := newTestCluster(t)
	c.disk = true
	c.change = func(cfg *Config) { cfg.SnapshotThreshold = 10 }
	c.form(3)
	lag := c.others(c.leader())[0]
	set(t, lag, "early", 1)
	if err := lag.stop(); err != nil {
		t.Fatal(err)
	}
	l := c.leader()
	for i := range 60 {
		set(t, l, "a", int64(i))
	}
	eventually(t, "the leader's log was cut", func() bool {
		if err := l.Snapshot(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			t.Fatal(err)
		}
		first, err := l.store.logs.FirstIndex()
		return err == nil && first > 30
	})
	lag = c.start(lag.id, lag.dir)
	if v := fresh(t, lag, "a"); v != 59 {
		t.Fatalf("a is %d", v)
	}
	set(t, lag, "late", 2)
	if list, err := lag.store.snapshots.List(); err != nil || len(list) == 0 {
		t.Fatalf("the member got no snapshot: the test does not test it (%v)", err)
	}
	if err := lag.stop(); err != nil {
		t.Fatal(err)
	}
	lag = c.start(lag.id, lag.dir)
	if fresh(t, lag, "early") != 1 || fresh(t, lag, "a") != 59 || fresh(t, lag, "late") != 2 {
		t.Fatal("something is missing after the second restart")
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
