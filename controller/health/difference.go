package health

import (
	"fmt"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

// Difference is what is not as it should be with one process.
type Difference struct {
	App     string `json:"app"`     // GUID
	Process string `json:"process"` // GUID
	Type    string `json:"type"`
	Version string `json:"version"` // that shall run
	Asked   int    `json:"asked"`
	// Running counts the instances of that version that are healthy.
	Running int `json:"running"`
	// Missing are those of the asked ones that are not running.
	Missing []Missing `json:"missing,omitempty"`
	// Extra are instances that nobody asked for.
	Extra []instance.Status `json:"extra,omitempty"`
}

// Missing is an instance that is not running.
type Missing struct {
	Index int            `json:"index"`
	State instance.State `json:"state"` // Down: no node knows of it
	// Reason is a sentence for the developer.
	Reason string    `json:"reason"`
	Since  time.Time `json:"since,omitzero"`
	Retry  time.Time `json:"retry,omitzero"` // when a crashed one is started again
}

// unseen counts the missing instances that no node knows of.
func (d Difference) unseen() int {
	n := 0
	for _, m := range d.Missing {
		if m.State == instance.Down {
			n++
		}
	}
	return n
}

// Instances is what the nodes say: [instances.Table].
type Instances interface {
	All() []instance.Status
	OfProcess(process string) []instance.Status
	// Stale reports whether a node is not heard of.
	Stale(node string) bool
}

// Compare returns the processes with which something is not as it should be.
// Those in a deployment are left out: they are on their way. unplaced says why
// a version finds no place, "" if nothing is known; it may be nil.
func Compare(v *state.View, in Instances, unplaced func(process, version string) string) []Difference {
	if unplaced == nil {
		unplaced = func(string, string) string { return "" }
	}
	started := map[string]bool{}
	for _, a := range v.AppsInState(cf.AppStarted) {
		started[a.GUID] = true
	}
	rolling := map[string]bool{}
	for _, d := range v.ActiveDeployments() {
		rolling[d.ProcessGUID] = true
	}
	byProcess := map[string][]instance.Status{}
	for _, s := range in.All() {
		byProcess[s.ProcessGUID] = append(byProcess[s.ProcessGUID], s)
	}
	var out []Difference
	for _, p := range v.Processes() {
		all := byProcess[p.GUID]
		delete(byProcess, p.GUID)
		if rolling[p.GUID] {
			continue
		}
		asked := 0
		if started[p.AppGUID] {
			asked = p.Instances
		}
		if d := one(p, asked, all, in, unplaced); len(d.Missing)+len(d.Extra) > 0 {
			out = append(out, d)
		}
	}
	for process, all := range byProcess {
		if d := orphans(v, process, all); len(d.Extra) > 0 {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Difference) int {
		if a.Process < b.Process {
			return -1
		}
		return 1
	})
	return out
}

// orphans are instances of a process that is gone. Tasks and builds are none.
func orphans(v *state.View, process string, all []instance.Status) Difference {
	d := Difference{Process: process}
	if _, ok := v.Task(process); ok {
		return d
	}
	if _, ok := v.Build(process); ok {
		return d
	}
	for _, s := range all {
		if s.Version != "" && ending(s) == "" {
			d.App, d.Type = s.AppGUID, s.ProcessType
			d.Extra = append(d.Extra, s)
		}
	}
	return d
}

// one compares one process.
func one(p cf.Process, asked int, all []instance.Status, in Instances, unplaced func(string, string) string) Difference {
	d := Difference{App: p.AppGUID, Process: p.GUID, Type: p.Type, Version: p.Version, Asked: asked}
	best := map[int]instance.Status{}
	for _, s := range all {
		switch {
		case ending(s) != "": // on its way out, whatever it was
		case s.Version != p.Version || s.Index >= asked:
			d.Extra = append(d.Extra, s)
		default:
			if old, ok := best[s.Index]; !ok || old.State != instance.Running {
				best[s.Index] = s
			}
		}
	}
	why, asks := "", true
	for i := range asked {
		s, ok := best[i]
		switch {
		case ok && s.State == instance.Running && !in.Stale(s.Node):
			d.Running++
		case ok:
			d.Missing = append(d.Missing, Missing{Index: i, State: s.State, Reason: reason(s, in.Stale(s.Node)), Since: s.Since, Retry: s.Retry})
		default:
			if asks {
				why, asks = unplaced(p.GUID, p.Version), false
			}
			if why == "" {
				why = "No node has reported it yet."
			}
			d.Missing = append(d.Missing, Missing{Index: i, State: instance.Down, Reason: why})
		}
	}
	return d
}

// ending is not "" for an instance that goes away by itself.
func ending(s instance.Status) instance.State {
	if s.State == instance.Stopping || s.State == instance.Gone {
		return s.State
	}
	return ""
}

func reason(s instance.Status, stale bool) string {
	switch {
	case stale:
		return fmt.Sprintf("Node %s is not heard of.", s.Node)
	case s.State == instance.Starting:
		return "It is starting and not healthy yet."
	case s.OOM:
		return "It used more memory than it may."
	case s.Reason != "":
		return s.Reason
	case s.State == instance.Crashed:
		return fmt.Sprintf("It exited with status %d.", s.ExitCode)
	}
	return fmt.Sprintf("It is %s.", s.State)
}
