package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stackato/stackato/agent/cluster/seal"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newRing(t testing.TB) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(rand.Reader, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSealOpenProperty(t *testing.T) {
	ring := newRing(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		aad := rapid.SliceOf(rapid.Byte()).Draw(t, "aad")
		sealed := ring.Seal(plain, aad)
		if len(sealed) != len(plain)+seal.Overhead {
			t.Fatalf("%d bytes for %d", len(sealed), len(plain))
		}
		got, err := ring.Open(sealed, aad)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("open: %x, %v", got, err)
		}
		if bytes.Equal(sealed, ring.Seal(plain, aad)) {
			t.Fatal("the same text twice: the nonce is not fresh")
		}

		// Any single changed bit, and any other place, is noticed.
		changed := bytes.Clone(sealed)
		i := rapid.IntRange(0, len(sealed)*8-1).Draw(t, "bit")
		changed[i/8] ^= 1 << (i % 8)
		_, err = ring.Open(changed, aad)
		var unknown seal.UnknownKeyError
		if !errors.Is(err, seal.ErrTampered) && !errors.As(err, &unknown) {
			t.Fatalf("bit %d changed: %v", i, err)
		}
		if _, err = ring.Open(sealed, append(bytes.Clone(aad), 'x')); !errors.Is(err, seal.ErrTampered) {
			t.Fatalf("other place: %v", err)
		}
		cut := rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")
		if _, err = ring.Open(sealed[:cut], aad); !errors.Is(err, seal.ErrTampered) {
			t.Fatalf("cut to %d: %v", cut, err)
		}
	})
}

// The header is part of what is authenticated: also between two ids of one
// secret a text cannot be passed off as the other's.
func TestHeaderIsBound(t *testing.T) {
	one := string(newRing(t).Marshal())
	entry := one[strings.Index(one, "{\"id\""):strings.Index(one, "]")]
	id := newRing(t).Primary()
	twin := strings.Replace(entry, entry[7:15], id, 1)
	ring, err := seal.Unmarshal([]byte(`{"version":1,"keys":[` + entry + "," + twin + "]}"))
	if err != nil || len(ring.Keys()) != 2 {
		t.Fatalf("%v, %v", ring, err)
	}
	sealed := ring.Seal([]byte("x"), nil)
	for _, k := range ring.Keys() {
		raw, err := hex.DecodeString(k.ID)
		if err != nil {
			t.Fatal(err)
		}
		copy(sealed[1:], raw)
		if _, err := ring.Open(sealed, nil); (err == nil) != k.Primary || !k.Primary && !errors.Is(err, seal.ErrTampered) {
			t.Errorf("under key %s, primary %v: %v", k.ID, k.Primary, err)
		}
	}
}

func TestRotateAndForget(t *testing.T) {
	ring := newRing(t)
	old := ring.Primary()
	sealed := ring.Seal([]byte("secret"), []byte("place"))

	// The clock of the rotating node is behind: still the new key seals.
	fresh, err := ring.Rotate(rand.Reader, epoch.Add(-time.Hour))
	if err != nil || ring.Primary() != fresh || fresh == old {
		t.Fatalf("rotate: %q, %v; primary %q", fresh, err, ring.Primary())
	}
	if id, err := seal.KeyID(ring.Seal(nil, nil)); err != nil || id != fresh {
		t.Errorf("sealed with %q, %v; want %q", id, err, fresh)
	}
	if got, err := ring.Open(sealed, []byte("place")); err != nil || string(got) != "secret" {
		t.Errorf("old text after rotation: %q, %v", got, err)
	}
	if err := ring.Forget(fresh); err == nil {
		t.Error("the primary was forgotten")
	}
	if err := ring.Forget(old); err != nil {
		t.Fatal(err)
	}
	var unknown seal.UnknownKeyError
	if _, err := ring.Open(sealed, []byte("place")); !errors.As(err, &unknown) || unknown.ID != old {
		t.Errorf("forgotten key: %v", err)
	}
	if err := ring.Forget(old); !errors.As(err, &unknown) {
		t.Errorf("forget twice: %v", err)
	}
}

func TestRotateStopsAtLimit(t *testing.T) {
	ring := newRing(t)
	for range 200 {
		if _, err := ring.Rotate(rand.Reader, epoch); err != nil {
			if !strings.Contains(err.Error(), "forget") {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("a ring grows without limit")
}

func TestBadRandomness(t *testing.T) {
	if _, err := seal.NewRing(iotest.ErrReader(errors.New("no entropy")), epoch); err == nil {
		t.Error("a ring without randomness")
	}
	if _, err := seal.NewRing(strings.NewReader("short"), epoch); err == nil {
		t.Error("a ring of five random bytes")
	}
}

// Rings that were rotated apart from each other become equal in any order.
func TestMergeProperty(t *testing.T) {
	base := newRing(t)
	rapid.Check(t, func(t *rapid.T) {
		rings := []*seal.Ring{base.Clone(), base.Clone(), base.Clone()}
		for _, r := range rings {
			for range rapid.IntRange(0, 3).Draw(t, "rotations") {
				at := epoch.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "at")) * time.Second)
				if _, err := r.Rotate(rand.Reader, at); err != nil {
					t.Fatal(err)
				}
			}
		}
		order := func(is ...int) []seal.KeyInfo {
			out := rings[is[0]].Clone()
			for _, i := range is[1:] {
				if _, err := out.Merge(rings[i]); err != nil {
					t.Fatal(err)
				}
			}
			return out.Keys()
		}
		want := order(0, 1, 2)
		for _, o := range [][]int{{2, 1, 0}, {1, 0, 2}, {0, 1, 2, 0, 1}} {
			if diff := cmp.Diff(want, order(o...)); diff != "" {
				t.Fatalf("order %v: %s", o, diff)
			}
		}
	})
}

func TestMergeReportsChange(t *testing.T) {
	ring := newRing(t)
	next := ring.Clone()
	if _, err := next.Rotate(rand.Reader, epoch); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if changed, err := ring.Merge(next); err != nil || changed != want {
			t.Errorf("merge: %v, %v; want %v", changed, err, want)
		}
	}
	if ring.Primary() != next.Primary() {
		t.Error("the new primary was not taken over")
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sealing-keys.json")
	if _, err := seal.LoadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	ring := newRing(t)
	sealed := ring.Seal([]byte("s"), nil)
	if _, err := ring.Rotate(rand.Reader, epoch); err != nil {
		t.Fatal(err)
	}
	if err := ring.SaveFile(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	got, err := seal.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ring.Keys(), got.Keys()); diff != "" {
		t.Error(diff)
	}
	if plain, err := got.Open(sealed, nil); err != nil || string(plain) != "s" {
		t.Errorf("open with the loaded ring: %q, %v", plain, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o610, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.LoadFile(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := seal.LoadFile(filepath.Dir(path)); err == nil {
		t.Error("a directory was loaded")
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	good := string(newRing(t).Marshal())
	tests := map[string]string{
		"empty":       "",
		"no keys":     `{"version":1,"keys":[]}`,
		"version":     strings.Replace(good, `"version":1`, `"version":2`, 1),
		"field":       strings.Replace(good, `"version":1`, `"version":1,"x":1`, 1),
		"text after":  good + "x",
		"short key":   `{"version":1,"keys":[{"id":"00000000","created":"2026-03-01T12:00:00Z","secret":"AAAA"}]}`,
		"upper id":    `{"version":1,"keys":[{"id":"0000000A","created":"2026-03-01T12:00:00Z","secret":"` + strings.Repeat("A", 43) + `="}]}`,
		"twice":       strings.Replace(good, `"keys":[`, `"keys":[`+good[strings.Index(good, "[")+1:strings.Index(good, "]")]+",", 1),
		"over length": strings.Repeat(" ", 65<<10) + good,
	}
	for name, text := range tests {
		if _, err := seal.Unmarshal([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// A damaged file must not show its keys in the error.
	secret := good[strings.Index(good, `"secret":"`)+10:]
	_, err := seal.Unmarshal([]byte(strings.Replace(good, `"created":"`, `"created":"`+secret, 1)))
	if err == nil || strings.Contains(err.Error(), secret[:12]) {
		t.Errorf("error shows the key or is missing: %v", err)
	}
}

func TestExport(t *testing.T) {
	ring := newRing(t)
	if _, err := ring.Export([]byte("short")); err == nil {
		t.Error("a short passphrase was accepted")
	}
	pass := []byte("correct horse battery")
	out, err := ring.Export(pass)
	if err != nil {
		t.Fatal(err)
	}
	got, err := seal.Import(out, pass)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ring.Keys(), got.Keys()); diff != "" {
		t.Error(diff)
	}
	if _, err := seal.Import(out, []byte("correct horse battarx")); !errors.Is(err, seal.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	weaker := bytes.Replace(out, []byte(`"time":3`), []byte(`"time":2`), 1)
	if _, err := seal.Import(weaker, pass); !errors.Is(err, seal.ErrPassphrase) {
		t.Errorf("changed header: %v", err)
	}
	for from, to := range map[string]string{
		`"memory_kib":65536`: `"memory_kib":4294967295`,
		`"time":3`:           `"time":4000000`,
		`"threads":4`:        `"threads":0`,
		`"argon2id"`:         `"none"`,
		`stackato-key-ring`:  `other`,
	} {
		forged := bytes.Replace(out, []byte(from), []byte(to), 1)
		if bytes.Equal(forged, out) {
			t.Fatalf("%s is not in the export", from)
		}
		if _, err := seal.Import(forged, pass); err == nil || errors.Is(err, seal.ErrPassphrase) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestPrintingShowsNoKey(t *testing.T) {
	ring := newRing(t)
	raw := string(ring.Marshal())
	secret := raw[strings.Index(raw, `"secret":"`)+10:][:20]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, ring); strings.Contains(s, secret) || !strings.Contains(s, ring.Primary()) {
			t.Errorf("%s: %s", verb, s)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	ring := newRing(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := ring.Open(ring.Seal([]byte("x"), nil), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			if _, err := ring.Rotate(rand.Reader, epoch); err != nil {
				t.Error(err)
			}
			if _, err := ring.Merge(ring.Clone()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	ring := newRing(f)
	f.Add(ring.Seal([]byte("secret"), []byte("a")), []byte("a"))
	f.Add([]byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, sealed, aad []byte) {
		var unknown seal.UnknownKeyError
		_, err := ring.Open(sealed, aad)
		if err != nil && !errors.Is(err, seal.ErrTampered) && !errors.As(err, &unknown) {
			t.Fatal(err)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(newRing(f).Marshal())
	f.Add([]byte(`{"version":1,"keys":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := seal.Unmarshal(data)
		if err != nil {
			return
		}
		again, err := seal.Unmarshal(r.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r.Keys(), again.Keys()); diff != "" {
			t.Fatal(diff)
		}
	})
}
