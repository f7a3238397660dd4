package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	perSecond  = 200
	maxWaiting = 2000 // requests at once: more is a failure as well
)

// bodies are what a POST carries, in turn: the router keeps the small ones until
// it has an answer, and streams the large one.
var bodies = [][]byte{make([]byte, 1<<10), make([]byte, 32<<10), make([]byte, 256<<10)}

// result is what a load came to.
type result struct {
	mu       sync.Mutex
	took     samples
	requests int
	posts    int
	failed   []string
}

// load sends requests at a steady rate, whatever the answers, until ctx is done
// and the last has its answer. Every second one opens a connection of its own,
// every tenth is a POST.
func load(ctx context.Context, host string) *result {
	kept := transport(false)
	fresh := transport(true)
	defer kept.CloseIdleConnections()
	defer fresh.CloseIdleConnections()
	r := &result{}
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	slots := make(chan struct{}, maxWaiting)
	start := time.Now()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			wg.Wait()
			return r
		case <-tick.C:
		}
		// A ticker that was late lets several through at once.
		for due := int(time.Since(start).Seconds() * perSecond); n < due; n++ {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				rt := kept
				if n%2 == 1 {
					rt = fresh
				}
				r.send(rt, host, n)
			})
		}
	}
}

func transport(fresh bool) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: fresh, MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, "127.0.0.1:80")
		},
	}
}

// send sends request number n: 10 to 19 of every hundred are a POST, so that they
// come on both kinds of connections.
func (r *result) send(rt http.RoundTripper, host string, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	method, body := http.MethodGet, []byte(nil)
	if n/10%10 == 1 {
		method, body = http.MethodPost, bodies[n%len(bodies)]
	}
	start := time.Now()
	failure := roundTrip(ctx, rt, method, "http://"+host+"/", body)
	took := time.Since(start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if method == http.MethodPost {
		r.posts++
	}
	r.took = append(r.took, took)
	if failure != "" {
		r.failed = append(r.failed, fmt.Sprintf("%s of %d bytes, connection kept %v, after %v at %s: %s", method, len(body), n%2 == 0, took, start.Format("15:04:05.000"), failure))
	}
}

// roundTrip says what was wrong, "" if the app has answered and had everything.
func roundTrip(ctx context.Context, rt http.RoundTripper, method, url string, body []byte) string {
	// A *bytes.Reader would let the client repeat requests that failed.
	reader := io.NopCloser(bytes.NewReader(body))
	if body == nil {
		reader = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return err.Error()
	}
	req.ContentLength = int64(len(body))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err.Error()
	case resp.StatusCode != http.StatusOK:
		return fmt.Sprintf("status %d, %s: %s", resp.StatusCode, resp.Header.Get("X-Cf-RouterError"), text)
	case string(text) != strconv.Itoa(len(body)):
		return fmt.Sprintf("the app had %s bytes", text)
	}
	return ""
}

func (r *result) report(b *testing.B) {
	b.Helper()
	for i, failure := range r.failed {
		if i == 20 {
			break
		}
		b.Logf("failed: %s", failure)
	}
	b.ReportMetric(float64(r.requests), "requests")
	b.ReportMetric(float64(r.posts), "posts")
	b.ReportMetric(float64(len(r.failed)), "failed")
	b.ReportMetric(ms(r.took.at(99)), "p99-ms")
	b.ReportMetric(0, "ns/op")
	if len(r.failed) > 0 {
		b.Errorf("%d of %d requests failed", len(r.failed), r.requests)
	}
}
