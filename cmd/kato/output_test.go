package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
)

func TestColoursKeepColumnsStraight(t *testing.T) {
	table := func(colours bool) string {
		var out bytes.Buffer
		p := &printer{tw: tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0), colours: colours}
		p.row("ROLE", "STATE", "DETAIL")
		p.row("dea", stateCell(local.StateRunning), "")
		p.row("load_balancer", stateCell(local.StateNotInstalled), "x")
		if err := p.tw.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	coloured := table(true)
	if !strings.Contains(coloured, green+"running") {
		t.Errorf("no colour: %q", coloured)
	}
	bare := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(coloured, "")
	if diff := cmp.Diff(table(false), bare); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutNil(t *testing.T) {
	in := local.Status{Nodes: []local.NodeStatus{{Name: "n1"}}}
	got := withoutNil(in).(local.Status)
	if got.Notes == nil || got.Voters == nil || got.Nodes[0].Roles == nil {
		t.Errorf("nil is left: %+v", got)
	}
	if got := withoutNil([]local.Token(nil)).([]local.Token); got == nil {
		t.Error("a nil list is left")
	}
	if got := withoutNil(versionView{}).(versionView); got.Agent != nil {
		t.Error("an absent object appeared")
	}
}

// The spinner waits a second before it shows, keeps a line for each finished
// step, and leaves a clean line.
func TestSpinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		sp := &spinner{w: &out, text: "joining", stop: make(chan struct{}), done: make(chan struct{})}
		go sp.turn()
		read := func() string {
			synctest.Wait()
			sp.mu.Lock()
			defer sp.mu.Unlock()
			defer out.Reset()
			return out.String()
		}
		time.Sleep(900 * time.Millisecond)
		if got := read(); got != "" {
			t.Errorf("shown before a second: %q", got)
		}
		time.Sleep(200 * time.Millisecond)
		if got := read(); !strings.Contains(got, "joining (1s)") {
			t.Errorf("not shown after a second: %q", got)
		}
		sp.step(local.Step{Name: "get certificate", State: local.StepStarted})
		sp.step(local.Step{Name: "get certificate", State: local.StepDone, Index: 1, Total: 2})
		if got, want := read(), "\r\x1b[K✓ [1/2] get certificate\n"; got != want {
			t.Errorf("step: %q, want %q", got, want)
		}
		time.Sleep(time.Second)
		if got := read(); !strings.Contains(got, "get certificate (2s)") {
			t.Errorf("spins on with %q", got)
		}
		close(sp.stop)
		<-sp.done
		if got, want := read(), "\r\x1b[K"; got != want {
			t.Errorf("left on the line: %q", got)
		}
	})
}

func TestInterruptedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	a := newApp(strings.NewReader(""), io.Discard, &errs)
	if code := a.run(ctx, []string{"info", "--socket", t.TempDir() + "/s"}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("it says %q", errs.String())
	}
}
