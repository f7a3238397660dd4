package watch_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/router/watch"
	"github.com/stackato/stackato/wire/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed is a controller whose stream the test holds.
type feed func(context.Context, routing.Position, func(*routing.Update) error) error

func (f feed) Subscribe(ctx context.Context, have routing.Position, apply func(*routing.Update) error) error {
	return f(ctx, have, apply)
}

func snapshot(version uint64) *routing.Update {
	return &routing.Update{Term: 1, Version: version, Source: "a", Snapshot: true, Routes: []routing.Route{{Key: routing.Key{Host: "app"}}}}
}

func run(t *testing.T, cfg watch.Config) (w *watch.Watch, stop func()) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.Table == nil {
		cfg.Table = table.New(nil)
	}
	w = watch.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	return w, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestStaleAfterAMoment: one lost stream is no reason to ask nodes; two seconds
// without one are.
func TestStaleAfterAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := make(chan struct{})
		w, stop := run(t, watch.Config{Feed: feed(func(ctx context.Context, _ routing.Position, apply func(*routing.Update) error) error {
			select {
			case <-lose:
				return errors.New("no controller answers")
			default:
			}
			if err := apply(snapshot(1)); err != nil {
				return err
			}
			select {
			case <-lose:
			case <-ctx.Done():
			}
			return errors.New("stream ended")
		})})
		defer stop()
		if !w.Stale() {
			t.Error("not stale before the first feed")
		}
		synctest.Wait()
		time.Sleep(time.Hour)
		if w.Stale() {
			t.Error("stale though the stream is open")
		}
		close(lose)
		synctest.Wait()
		time.Sleep(1900 * time.Millisecond)
		if w.Stale() {
			t.Error("stale after 1.9 s")
		}
		time.Sleep(200 * time.Millisecond)
		if !w.Stale() {
			t.Error("not stale after 2.1 s")
		}
	})
}

// TestReconnectionsAreBounded: a cluster of routers must not storm the one
// controller that comes back.
func TestReconnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		_, stop := run(t, watch.Config{Feed: feed(func(context.Context, routing.Position, func(*routing.Update) error) error {
			calls.Add(1)
			return errors.New("no controller answers")
		})})
		time.Sleep(10 * time.Minute)
		stop()
		if n := calls.Load(); n < 80 || n > 400 { // every 5 s, halved and doubled by jitter, after a quick start
			t.Errorf("%d connections in ten minutes", n)
		}
	})
}

func TestFileIsWrittenAtTheEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	applied := make(chan struct{})
	subscribe := feed(func(ctx context.Context, have routing.Position, apply func(*routing.Update) error) error {
		if have.Version > 0 {
			t.Errorf("a new router says it has read %+v", have)
		}
		for v := range uint64(50) {
			if err := apply(snapshot(v + 1)); err != nil {
				return err
			}
			for v == 0 { // the next write is an hour away then
				if _, err := os.Stat(file); err == nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		close(applied)
		<-ctx.Done()
		return ctx.Err()
	})
	_, stop := run(t, watch.Config{Feed: subscribe, File: file, SaveInterval: time.Hour})
	<-applied
	stop()

	second := table.New(nil)
	ready := make(chan routing.Position, 1)
	_, stop = run(t, watch.Config{Table: second, File: file, Feed: feed(func(ctx context.Context, have routing.Position, _ func(*routing.Update) error) error {
		ready <- have
		<-ctx.Done()
		return ctx.Err()
	})})
	defer stop()
	if have, want := <-ready, snapshot(50).Position(); have != want {
		t.Errorf("the next router has read %+v, want %+v", have, want)
	}
	if second.Lookup("app", "/") == nil {
		t.Error("the route is lost")
	}
}

func TestHalfATableIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(file, []byte(`{"term":1,"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tab := table.New(nil)
	asked := make(chan struct{}, 1)
	_, stop := run(t, watch.Config{Table: tab, File: file, Feed: feed(func(ctx context.Context, _ routing.Position, _ func(*routing.Update) error) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})})
	defer stop()
	<-asked
	if tab.Ready() {
		t.Error("changes without a snapshot are served as a table")
	}
}
