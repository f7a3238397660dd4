package agent

import (
	"context"
	"slices"
	"testing"

	"github.com/stackato/stackato/agent/supervise"
)

// TestNomadStopsBeforeConsul: Nomad keeps its services in Consul, so Consul is
// told to end when Nomad has.
func TestNomadStopsBeforeConsul(t *testing.T) {
	var order []string
	k := &children{procs: map[string]*process{}}
	for _, name := range []string{"consul", "nomad"} {
		done := make(chan struct{})
		told := make(chan struct{})
		go func() {
			<-told
			order = append(order, name+" ended")
			close(done)
		}()
		k.procs[name] = &process{child: new(supervise.Child), done: done, cancel: context.CancelFunc(func() {
			order = append(order, name+" told")
			close(told)
		})}
	}
	k.stopAll()
	if want := []string{"nomad told", "nomad ended", "consul told", "consul ended"}; !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
}
