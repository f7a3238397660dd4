package fence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestBlobsAreVerified(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "1"+partSuffix), []byte("of an earlier run"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openBlobs(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	good := w.put([]byte("content"))
	tests := []struct {
		name    string
		blob    instance.Blob
		content string
		code    rpcerr.Code
	}{
		{"forged", good, "forged!", rpcerr.Unavailable},
		{"cut", good, "conten", rpcerr.Unavailable},
		{"longer", good, "content, and more", rpcerr.Unavailable},
		{"no digest", instance.Blob{Digest: "../../etc/passwd"}, "content", rpcerr.Invalid},
		{"good", good, "content", ""},
		{"kept", good, "not asked for any more", ""},
		{"without size", instance.Blob{Digest: good.Digest}, "not asked for either", ""},
	}
	for _, tt := range tests { // in order: the last ones need the earlier
		file, err := s.open(t.Context(), tt.blob, func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(tt.content)), nil
		})
		if code := rpcerr.Of(err); code != tt.code {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		if data, err := io.ReadAll(file); err != nil || string(data) != "content" {
			t.Errorf("%s: %q, %v", tt.name, data, err)
		}
		file.Close()
	}
	if diff := cmp.Diff([]string{good.Digest}, names(t, dir)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

// TestOneDownload: however many instances start, a droplet comes once; one
// that stops waiting does not stop the others.
func TestOneDownload(t *testing.T) {
	s, err := openBlobs(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	blob := newWorld().put([]byte("content"))
	var fetched atomic.Int32
	asked, release := make(chan struct{}), make(chan struct{})
	fetch := func(context.Context) (io.ReadCloser, error) {
		fetched.Add(1)
		close(asked)
		<-release
		return io.NopCloser(strings.NewReader("content")), nil
	}
	impatient, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.open(impatient, blob, fetch)
		gone <- err
	}()
	<-asked
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			file, err := s.open(t.Context(), blob, fetch)
			if err != nil {
				t.Error(err)
				return
			}
			file.Close()
		})
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the impatient one got %v", err)
	}
	close(release)
	all.Wait()
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestBlobsArePruned(t *testing.T) {
	dir := t.TempDir()
	s, err := openBlobs(dir, 250)
	if err != nil {
		t.Fatal(err)
	}
	var blobs []instance.Blob
	for i := range 5 {
		part, err := s.create()
		if err != nil {
			t.Fatal(err)
		}
		part.Write(bytes.Repeat([]byte{byte(i)}, 100))
		blob := part.blob()
		if err := part.keep(blob); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(s.path(blob.Digest), at, at); err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	if file, ok := s.cached(blobs[1]); ok { // is now the newest
		file.Close()
	}
	if err := s.prune(map[string]bool{blobs[0].Digest: true}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false, false, false} {
		file, ok := s.cached(blobs[i])
		if ok {
			file.Close()
		}
		if ok != want {
			t.Errorf("blob %d kept: %v, want %v", i, ok, want)
		}
	}
}

func TestSpecs(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpecs(filepath.Join(dir, "specs"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	key := specKey{"app", "p1", "v1"}
	spec := instance.Spec{ProcessGUID: "p1", Version: "v1", Application: json.RawMessage(`{}`), Services: json.RawMessage(`{}`), Env: map[string]string{"SECRET": "s3cret"}}
	get := func(s *specStore, k specKey, spec instance.Spec, err error) (instance.Spec, error) {
		return s.get(t.Context(), k, func(context.Context) (instance.Spec, error) { return spec, err })
	}
	if _, err := get(s, key, instance.Spec{}, errAway); !errors.Is(err, rpcerr.Unavailable) {
		t.Errorf("an error: %v", err)
	}
	if _, err := get(s, specKey{"app", "p1", "v2"}, spec, nil); err == nil {
		t.Error("another version was accepted")
	}
	for range 2 {
		if got, err := get(s, key, spec, nil); err != nil || !cmp.Equal(got, spec) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	again, err := openSpecs(filepath.Join(dir, "specs"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.cached(key); got == nil || !cmp.Equal(*got, spec) {
		t.Errorf("after a restart %+v", got)
	}
	sealed, err := os.ReadFile(again.path(key))
	if err != nil || bytes.Contains(sealed, []byte("s3cret")) || bytes.Contains(sealed, []byte("SECRET")) {
		t.Errorf("not sealed: %q, %v", sealed, err)
	}
	// A file in another one's place is as good as none.
	other := specKey{"app", "p2", "v1"}
	if err := os.WriteFile(again.path(other), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := again.cached(other); got != nil {
		t.Errorf("moved: %+v", got)
	}
	if err := again.prune(time.Now().Add(time.Hour), map[specKey]bool{key: true}); err != nil {
		t.Fatal(err)
	}
	if again.cached(key) == nil || len(names(t, again.dir)) != 1 {
		t.Error("pruned what is used, or not what is unused")
	}
	if info, err := os.Stat(filepath.Join(dir, "key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
}
