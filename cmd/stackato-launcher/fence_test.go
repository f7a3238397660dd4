package main

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// TestKillsAreTold: that memory was full, once and only if it was.
func TestKillsAreTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "f.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 10)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.Method + " " + r.URL.Path
		w.WriteHeader(http.StatusNoContent)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() {
		server.Close()
		<-ended
	}()
	for _, kills := range []int64{0, 3} {
		l := newLauncher(places{socket: socket}, nil)
		l.kills = func() int64 { return kills }
		l.tellKills(t.Context())
		l.fence.close()
		want := 0
		if kills > 0 {
			want = 1
		}
		if len(told) != want {
			t.Errorf("after %d kills told %d times", kills, len(told))
		}
	}
	if got := <-told; got != "POST /v1/oom" {
		t.Error(got)
	}
}
