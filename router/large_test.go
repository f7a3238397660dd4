package router_test

import (
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"testing"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestLargeBodiesStream sends a body up and another one down: 32 MiB, and 1 GiB
// in the long run. Neither may sit in memory.
func TestLargeBodiesStream(t *testing.T) {
	size, most := int64(32<<20), uint64(24<<20)
	if os.Getenv("STACKATO_TEST_LONG") == "1" {
		size, most = 1<<30, 100<<20
	}
	feed := newControllers()
	r := start(t, feed, nil)
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPut {
			n, err := io.Copy(io.Discard, req.Body)
			if err != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
			io.WriteString(w, strconv.FormatInt(n, 10))
			return
		}
		if req.URL.Path == "/large" {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			io.Copy(w, io.LimitReader(zeros{}, size))
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", http.StatusOK)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	up := r.do(t, http.MethodPut, "http://app.example.com/", io.LimitReader(zeros{}, size))
	if up.StatusCode != http.StatusOK || up.text != strconv.FormatInt(size, 10) {
		t.Errorf("got %d %q, want %d bytes taken", up.StatusCode, up.text, size)
	}
	res, err := r.client().Get("http://app.example.com/large")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.Sys - before.Sys; grown > most {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}
