package router

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/wire/routing"
)

const (
	connections = 64
	bodyBytes   = 1 << 10
	duration    = 4 * time.Second
	rounds      = 3 // medians are reported
)

// TestMain lets the test binary be app and router as well: processes of their
// own have CPU of their own.
func TestMain(m *testing.M) {
	switch os.Getenv("STACKATO_BENCH_ROLE") {
	case "app":
		serveApp()
	case "router":
		serveRouter()
	case "controller":
		serveController()
	default:
		os.Exit(m.Run())
	}
}

// BenchmarkRouter measures each proxy with each number of routes.
func BenchmarkRouter(b *testing.B) {
	for _, routes := range []int{1, 10_000, 100_000} {
		for _, p := range []proxy{&ours{}, &nginx{}, &haproxy{}, &none{}} {
			b.Run(fmt.Sprintf("%s/routes=%d", p.name(), routes), func(b *testing.B) {
				measure(b, p, routes)
			})
		}
	}
}

// proxy is what is measured.
type proxy interface {
	name() string
	// start runs the proxy with routes 0 to routes-1 to the app and returns its
	// address and the ids of its processes.
	start(b *testing.B, app string, routes int) (address string, pids func() []int)
	// add adds one more route.
	add(b *testing.B, app, host string)
}

func hostOf(n int) string { return fmt.Sprintf("app-%06d.bench.example", n) }

func measure(b *testing.B, p proxy, routes int) {
	app := startSelf(b, "app", "")
	address, pids := p.start(b, app.address, routes)
	waitServed(b, address, hostOf(routes-1))
	load(address, routes, time.Second) // warm up
	for b.Loop() {
		var perSecond, cpu, p99, added []float64
		for range rounds {
			before := cpuTime(b, pids())
			r := load(address, routes, duration)
			if r.failed > 0 {
				b.Fatalf("%d of %d requests failed", r.failed, r.requests)
			}
			perSecond = append(perSecond, float64(r.requests)/duration.Seconds())
			cpu = append(cpu, (cpuTime(b, pids())-before).Seconds()*1e6/float64(r.requests))
			p99 = append(p99, r.p99.Seconds()*1e3)
		}
		// Afterwards: nginx's reload replaces the processes whose CPU counts.
		for round := range rounds {
			if p.name() == "none" {
				break
			}
			host := fmt.Sprintf("new-%d.bench.example", round)
			start := time.Now()
			p.add(b, app.address, host)
			waitServed(b, address, host)
			added = append(added, time.Since(start).Seconds()*1e3)
		}
		b.ReportMetric(median(cpu), "cpu_us/req")
		b.ReportMetric(median(perSecond), "req/s")
		b.ReportMetric(median(p99), "p99_ms")
		if len(added) > 0 {
			b.ReportMetric(median(added), "add_ms")
		}
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkAddRoute is the table's part of a new route alone.
func BenchmarkAddRoute(b *testing.B) {
	for _, routes := range []int{1, 10_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			t := table.New(nil)
			u := snapshot("127.0.0.1:1", routes)
			if _, err := t.Apply(u); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				u := &routing.Update{Term: 1, Version: t.Position().Version + 1, Source: "bench", Routes: []routing.Route{routeOf("127.0.0.1:1", "new.bench.example")}}
				if _, err := t.Apply(u); err != nil {
					b.Fatal(err)
				}
				if t.Lookup("new.bench.example", "/") == nil {
					b.Fatal("not there")
				}
			}
		})
	}
}

// BenchmarkLookup is the core of a request: route, instance, and back.
func BenchmarkLookup(b *testing.B) {
	for _, routes := range []int{1, 10_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			t := table.New(nil)
			if _, err := t.Apply(snapshot("127.0.0.1:1", routes)); err != nil {
				b.Fatal(err)
			}
			hosts := make([]string, 1000)
			for i := range hosts {
				hosts[i] = hostOf(i * routes / len(hosts))
			}
			c := &table.Choice{Now: time.Now()}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				backend, err := t.Lookup(hosts[i%len(hosts)], "/some/path").Pick(c)
				if err != nil {
					b.Fatal(err)
				}
				backend.Sent()
				backend.Release()
			}
		})
	}
}

// routeOf leads to the one app that nginx and HAProxy have as their upstream, too:
// connections to it are kept alive whatever the host.
func routeOf(app, host string) routing.Route {
	return routing.Route{
		Key: routing.Key{Host: host}, GUID: host,
		Backends: []routing.Backend{{Address: app, AllocID: "alloc", AppGUID: "app", Process: "web", Node: "n"}},
	}
}

func snapshot(app string, routes int) *routing.Update {
	u := &routing.Update{Term: 1, Version: 1, Source: "bench", Snapshot: true}
	for n := range routes {
		u.Routes = append(u.Routes, routeOf(app, hostOf(n)))
	}
	return u
}

// waitServed waits until host is answered with 200.
func waitServed(b *testing.B, address, host string) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for deadline := time.Now().Add(time.Minute); ; {
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+"/", nil)
		req.Host = host
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s is never served: %v", host, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// cpuTime sums user and system time of processes.
func cpuTime(b *testing.B, pids []int) (sum time.Duration) {
	b.Helper()
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // a worker that a reload has ended
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+2:]))
		for _, i := range []int{11, 12} { // utime, stime in ticks of 10 ms
			ticks, _ := strconv.Atoi(fields[i])
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}

func freePort(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func lookPath(b *testing.B, program string) string {
	b.Helper()
	for _, p := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	b.Skipf("%s is not installed", program)
	return ""
}
