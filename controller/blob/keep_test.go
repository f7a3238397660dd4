package blob

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

func lives(blobs ...Blob) map[string]Blob {
	out := map[string]Blob{}
	for _, b := range blobs {
		out[b.Digest] = b
	}
	return out
}

// eventually waits for a condition, a minute at most.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come about")
		}
	}
}

func TestKeeper(t *testing.T) {
	d := newDir(t)
	has := func(b Blob) bool { _, err := d.Stat(t.Context(), b.Digest); return err == nil }
	k := keeper{dir: d}
	step := func(live ...Blob) {
		t.Helper()
		if err := k.step(lives(live...)); err != nil {
			t.Fatal(err)
		}
	}
	app, other := mustPut(t, d, random(1)), mustPut(t, d, random(2))
	young, taken := mustPut(t, d, random(3)), mustPut(t, d, random(4))
	step(app, other, taken)
	step(other) // the rows of app and taken are gone
	if !has(app) || !has(taken) {
		t.Fatal("dropped at the first look")
	}
	step(other, taken) // another row took it over
	if has(app) || !has(other) || !has(taken) {
		t.Errorf("app %v, other %v, taken over %v", has(app), has(other), has(taken))
	}
	mustPut(t, d, random(2)) // for a row that is on its way
	step(taken)
	step(taken)
	step(taken)
	if !has(other) {
		t.Error("a blob that was put again was dropped")
	}
	if !has(young) {
		t.Error("a blob that no row named yet was dropped")
	}
	d.again[other.Digest] = time.Now().Add(-putAgain) // no row has come
	step(taken)
	if has(other) {
		t.Error("the second Put holds the blob until the sweep")
	}
}

// TestKeep: the rows change, the directory follows; damage is found and mended.
func TestKeep(t *testing.T) {
	m := newMesh(t, 2, 1)
	a, b := m.nodes["a"], m.nodes["b"]
	stays, goes := mustPut(t, a, random(100)), mustPut(t, a, random(200))
	var mu sync.Mutex
	live := lives(stays, goes)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, c := range []*Cluster{a, b} {
		wg.Go(func() {
			err := c.Keep(ctx, KeepConfig{
				Drop: time.Millisecond, Repair: 2 * time.Millisecond, Sweep: 3 * time.Millisecond, Scrub: 5 * time.Millisecond,
				Live: func(context.Context) (map[string]Blob, error) {
					mu.Lock()
					defer mu.Unlock()
					if live == nil {
						return nil, errors.New("no Primary")
					}
					return live, nil
				},
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Keep returned %v", err)
			}
		})
	}
	holders := func(b Blob, want ...PeerID) {
		t.Helper()
		eventually(t, func() bool { return slices.Equal(m.holders(t, b.Digest), want) })
	}
	set := func(to map[string]Blob) {
		mu.Lock()
		defer mu.Unlock()
		live = to
	}
	holders(stays, "a", "b")
	holders(goes, "a", "b")
	damage(t, b.local, stays.Digest)
	eventually(t, func() bool {
		got, err := read(t, b.local, stays.Digest)
		return err == nil && name(got) == stays
	})
	set(nil)
	set(lives(stays))
	holders(goes)
	holders(stays, "a", "b")
	cancel()
	wg.Wait()
}
