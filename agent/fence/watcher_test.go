package fence

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

func testTable() *table { return newTable(Config{Node: "n", Address: "10.0.0.1"}.withDefaults()) }

// TestNothingBeforeTheList: an empty snapshot would mean that all is gone.
func TestNothingBeforeTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := testTable()
		ctx, cancel := context.WithCancel(t.Context())
		reports := make(chan instance.Report, 10)
		ended := make(chan error, 1)
		go func() {
			ended <- table.watch(ctx, func(r instance.Report) error { reports <- r; return nil })
		}()
		table.started(Container{ID: "c", AllocID: "a", Kind: instance.KindApp})
		time.Sleep(time.Hour)
		if len(reports) != 0 {
			t.Error("told before the engine was asked")
		}
		table.ready()
		synctest.Wait()
		if r := <-reports; !r.Snapshot || len(r.Instances) != 1 {
			t.Errorf("%+v", r)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if len(table.watchers) != 0 {
			t.Error("the watcher is still there")
		}
	})
}

// TestSlowWatcher: many changes of one instance become one, and too many
// changes a snapshot.
func TestSlowWatcher(t *testing.T) {
	table := testTable()
	table.ready()
	w, err := table.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	defer table.unsubscribe(w)
	if r := table.take(w); !r.Snapshot || len(r.Instances) != 0 {
		t.Errorf("first %+v", r)
	}
	c := Container{ID: "c", AllocID: "a", Kind: instance.KindApp}
	table.started(c)
	table.running(c)
	table.setReady(c, true)
	if r := table.take(w); r.Snapshot || len(r.Instances) != 1 || !r.Instances[0].Ready {
		t.Errorf("changes %+v", r)
	}
	table.stop(c)
	table.died("c", 0, false)
	if r := table.take(w); len(r.Instances) != 1 || r.Instances[0].State != instance.Gone {
		t.Errorf("end %+v", r)
	}
	for i := range maxPending + 1 {
		table.started(Container{ID: fmt.Sprint("c", i), AllocID: fmt.Sprint("a", i), Kind: instance.KindApp})
	}
	if r := table.take(w); !r.Snapshot || len(r.Instances) != maxPending+1 {
		t.Errorf("snapshot %v of %d", r.Snapshot, len(r.Instances))
	}
}

func TestTooManyWatchers(t *testing.T) {
	table := testTable()
	for range maxWatchers {
		if _, err := table.subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.subscribe(); !errors.Is(err, rpcerr.Exhausted) {
		t.Errorf("%v", err)
	}
}

// TestLateNews: what is said about a container that is no longer the
// allocation's changes nothing.
func TestLateNews(t *testing.T) {
	table := testTable()
	old := Container{ID: "old", AllocID: "a", Kind: instance.KindApp, created: time.Unix(1, 0)}
	now := Container{ID: "new", AllocID: "a", Kind: instance.KindApp, created: time.Unix(2, 0)}
	table.started(old)
	table.died("old", 1, false)
	table.started(now)
	table.running(now)
	table.setReady(now, true)
	want := table.all()[0]
	if table.started(old) || table.running(old) || table.setReady(old, false) || table.begin(old, func() {}) {
		t.Error("a late success counts")
	}
	if _, ok := table.stop(old); ok {
		t.Error("a late stop counts")
	}
	if table.fail("old", "late") {
		t.Error("a late failure counts")
	}
	if _, ok := table.died("old", 2, false); ok {
		t.Error("a late end counts")
	}
	table.rewind(old)
	table.killed("old")
	if got := table.all()[0]; got != want || !got.Ready || got.Crashes != 1 {
		t.Errorf("%+v, was %+v", got, want)
	}
}

// TestUnsettled: the first snapshot waits for what may soon be ready, and for
// nothing else.
func TestUnsettled(t *testing.T) {
	table := testTable()
	app, task := Container{ID: "c", AllocID: "a", Kind: instance.KindApp}, Container{ID: "t", AllocID: "b", Kind: instance.KindTask}
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"nothing", func() {}, false},
		{"a task that begins", func() { table.started(task) }, true},
		{"one that runs", func() { table.running(task) }, false},
		{"an app that starts", func() { table.started(app) }, true},
		{"one that runs", func() { table.running(app) }, true},
		{"one that is ready", func() { table.setReady(app, true) }, false},
		{"one that is not any more", func() { table.setReady(app, false) }, true},
		{"one that ends", func() { table.died("c", 1, false) }, false},
	} {
		step.do()
		if got := table.unsettled(); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
}

// TestLateReason: the engine may say that memory was full after it has said that
// the container ended.
func TestLateReason(t *testing.T) {
	table := testTable()
	table.started(Container{ID: "c", AllocID: "a", Kind: instance.KindApp})
	if _, late := table.killed("c"); late {
		t.Error("too late for one that runs")
	}
	table.died("c", 137, false)
	if s := table.all()[0]; !s.OOM || s.Reason != outOfMemory {
		t.Errorf("said before the end: %+v", s)
	}
	table.started(Container{ID: "d", AllocID: "a", Kind: instance.KindApp, created: time.Unix(1, 0)})
	table.died("d", 137, false)
	if s := table.all()[0]; s.OOM || s.Reason != "ended by signal 9 (exit status 137)" {
		t.Errorf("not said: %+v", s)
	}
	if c, late := table.killed("d"); !late || c.ID != "d" {
		t.Errorf("said after the end: %+v, %v", c, late)
	}
	if s := table.all()[0]; !s.OOM || s.Reason != outOfMemory || table.past()["a"].Why != outOfMemory || s.Crashes != 2 {
		t.Errorf("said after the end: %+v, %+v", s, table.past())
	}
}

// TestStartDuringList: a container that starts while the engine is listing is
// not in the list, and has not ended for that.
func TestStartDuringList(t *testing.T) {
	var f *Fence // set before anybody asks the engine
	during := Container{ID: "c1", AllocID: "a1", Kind: instance.KindApp, running: true}
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			f.table.started(during)
			w.Write([]byte("[]"))
		}
	})
	var err error
	f, err = New(Config{Engine: newEngine(t, socket), Dir: t.TempDir(), Node: "n", Address: "10.0.0.1", Controllers: newWorld()})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); len(s) != 1 || s[0].State != instance.Starting {
		t.Errorf("after the first list: %+v", s)
	}
	if err := f.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); len(s) != 1 || s[0].State != instance.Crashed || s[0].Reason != "ended, nobody knows how" {
		t.Errorf("after the second, without it: %+v", s)
	}
}

// TestListed: whoever asks what runs must not take "not looked yet" for
// "nothing".
func TestListed(t *testing.T) {
	f := &Fence{table: testTable()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Listed(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("before the engine has said what runs: %v", err)
	}
	f.table.ready()
	if err := f.Listed(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
}
