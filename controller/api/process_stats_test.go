package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/wire/instance"
)

func TestFillIndexes(t *testing.T) {
	t.Parallel()
	of := func(version string, index int, state instance.State) instance.Status {
		return instance.Status{AllocID: version, Version: version, Index: index, State: state}
	}
	const run, start, crash, down = instance.Running, instance.Starting, instance.Crashed, instance.Down
	alone, both := map[string]int{"old": 1}, map[string]int{"old": 1, "new": 2}
	for name, c := range map[string]struct {
		wanted map[string]int
		all    []instance.Status
		want   []instance.Status // of three
	}{
		"one version": {
			alone,
			[]instance.Status{of("old", 0, run), of("old", 2, crash), of("gone", 1, run), of("old", 3, run)},
			[]instance.Status{of("old", 0, run), {Index: 1, State: down}, of("old", 2, crash)},
		},
		"two copies of an index are one": {
			alone,
			[]instance.Status{of("old", 0, run), of("old", 0, run), of("old", 1, run)},
			[]instance.Status{of("old", 0, run), of("old", 1, run), {Index: 2, State: down}},
		},
		"the new version is shown first": {
			both,
			[]instance.Status{of("old", 0, run), of("new", 0, run), of("old", 1, run), of("new", 1, start), of("old", 2, run)},
			[]instance.Status{of("new", 0, run), of("old", 1, run), of("old", 2, run)},
		},
		"three run, so three are shown": {
			both,
			[]instance.Status{of("old", 0, run), of("old", 1, run), of("new", 0, run)},
			[]instance.Status{of("new", 0, run), of("old", 1, run), {AllocID: "old", Version: "old", Index: 2, State: run}},
		},
		"a crash is not covered up": {
			both,
			[]instance.Status{of("old", 0, run), of("new", 0, run), of("old", 1, run), of("new", 2, crash)},
			[]instance.Status{of("new", 0, run), of("old", 1, run), of("new", 2, crash)},
		},
	} {
		out := []instance.Status{{Index: 0, State: down}, {Index: 1, State: down}, {Index: 2, State: down}}
		fillIndexes(out, c.all, c.wanted)
		if diff := cmp.Diff(c.want, out); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
