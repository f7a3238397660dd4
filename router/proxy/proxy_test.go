package proxy_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/router/proxy"
	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// blocked is an access log whose disk does not answer.
type blocked struct {
	release chan struct{}
	lines   atomic.Int64
}

func (b *blocked) WriteLine([]byte) error {
	<-b.release
	b.lines.Add(1)
	return errors.New("disk full")
}
func (b *blocked) Flush() error { return nil }

// TestSlowAccessLogHoldsNobodyUp: requests go on, lines are dropped and counted,
// and what was queued is written at the end.
func TestSlowAccessLogHoldsNobodyUp(t *testing.T) {
	log := &blocked{release: make(chan struct{})}
	metrics := proxy.NewMetrics()
	tab := table.New(nil)
	if _, err := tab.Apply(&routing.Update{Snapshot: true, Routes: []routing.Route{{Key: routing.Key{Host: "app"}}}}); err != nil {
		t.Fatal(err)
	}
	p := proxy.New(proxy.Config{Table: tab, AccessLog: log, Metrics: metrics, Logger: slog.New(slog.DiscardHandler), Log: func(logs.Line) {}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	const requests = 10000
	for range requests {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://app/", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Fatalf("got %d", w.Code)
		}
	}
	cancel()
	close(log.release)
	running.Wait()
	dropped := requests - log.lines.Load()
	if dropped == 0 || dropped == requests {
		t.Errorf("%d of %d lines dropped", dropped, requests)
	}
	if got := counter(t, metrics, "stackato_router_access_log_dropped_total"); got != float64(dropped) {
		t.Errorf("%v counted, %d dropped", got, dropped)
	}
	p.Drain(t.Context())
}

func counter(t *testing.T, c prometheus.Collector, name string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// FuzzRequest sends odd requests through the whole chain.
func FuzzRequest(f *testing.F) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Cf-Applicationid") != "app" || r.Header.Get("X-Vcap-Request-Id") == "evil" || strings.Contains(r.Header.Get("X-Forwarded-Proto"), "evil") {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	f.Cleanup(app.Close)
	tab := table.New(nil)
	_, err := tab.Apply(&routing.Update{Snapshot: true, Routes: []routing.Route{{
		Key: routing.Key{Host: "app"}, Backends: []routing.Backend{{Address: app.Listener.Addr().String(), AllocID: "a", AppGUID: "app"}},
	}}})
	if err != nil {
		f.Fatal(err)
	}
	p := proxy.New(proxy.Config{Table: tab, Logger: slog.New(slog.DiscardHandler)})
	f.Cleanup(func() { p.Drain(context.Background()); tab.CloseIdle() })
	f.Add("GET", "/a?b=c", "X-Forwarded-Proto", "evil", "body")
	f.Add("POST", "//x/../y", "Connection", "X-Vcap-Request-Id, X-Cf-Applicationid", "")
	f.Add("PUT", "/%zz", "Cookie", "JSESSIONID=1; __VCAP_ID__=a;;=;", "b")
	f.Add("GET", "*", "X_Vcap_Request_Id", "evil", "")
	f.Add("GET", "/", "X-Cf-App-Instance", "app:0", "")
	f.Add("GET", "/", "Accept", "text/html", "")
	f.Fuzz(func(t *testing.T, method, path, name, value, body string) {
		if method == "" || strings.ContainsAny(method, " \t\r\n\"()/:;<=>?@[]{}\\,") || path == "" || strings.ContainsAny(path, " \r\n\t") || strings.ContainsAny(name+value, "\r\n\x00") || !strings.HasPrefix(path, "/") {
			t.Skip()
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://app"+path, io.NopCloser(strings.NewReader(body)))
		if err != nil {
			t.Skip()
		}
		r.ContentLength, r.RemoteAddr = int64(len(body)), "192.0.2.1:1"
		r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code == http.StatusTeapot {
			t.Errorf("%s %s %q: %q got past the router", method, path, name, value)
		}
		if w.Header().Get("X-Vcap-Request-Id") == "" {
			t.Error("no request id")
		}
	})
}
