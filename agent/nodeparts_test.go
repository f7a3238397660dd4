package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// TestNodesSpeakOfTheirOwnAddresses: a DEA that was broken into must neither
// make routers connect to others nor take instances of others out.
func TestNodesSpeakOfTheirOwnAddresses(t *testing.T) {
	n := node.Node{Name: "n1", Address: "10.0.0.1"}
	rep := instance.Report{Snapshot: true}
	var want []string
	for address, own := range map[string]bool{
		"10.0.0.1:20000": true, "10.0.0.2:20000": false, "127.0.0.1:4646": false, "localhost:1": false,
		"10.0.0.1": false, "10.0.0.1:1@10.0.0.2:1": false, ":20000": false,
	} {
		err := speaksFor(n, address)
		if (err == nil) != own || !own && rpcerr.Of(err) != rpcerr.Denied {
			t.Errorf("%q: %v", address, err)
		}
		rep.Instances = append(rep.Instances, instance.Status{AllocID: address, Address: address, Ready: true})
		if !own {
			address = ""
		}
		want = append(want, address)
	}
	var got []string
	for _, s := range ownAddresses(n, rep).Instances {
		got = append(got, s.Address)
		if s.Ready != (s.Address != "") {
			t.Errorf("%s is ready: %v", s.AllocID, s.Ready)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRouterWaitsForItsOwnNodeToStart: after the agent was replaced the router
// serves what it knew, and its DEA must say where instances are. It is up a
// little later, which is no reason to refuse requests.
func TestRouterWaitsForItsOwnNodeToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &runtime{id: identity{ID: "n1"}}
		part := &runningPart{err: errPartStarting}
		r.parts = &roleParts{r: r, parts: map[node.Role]*runningPart{node.DEA: part}}
		answer := make(chan error, 1)
		go func() { answer <- r.confirmBackend(t.Context(), "n1", "10.0.0.1:20000", "alloc") }()
		time.Sleep(time.Second)
		select {
		case err := <-answer:
			t.Fatalf("answered while the DEA starts: %v", err)
		default:
		}
		broken := errors.New("no Docker Engine")
		part.set(nil, broken)
		if err := <-answer; !errors.Is(err, broken) {
			t.Errorf("the DEA does not start: %v", err)
		}

		part.set(nil, errPartStarting)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.confirmBackend(ctx, "n1", "10.0.0.1:20000", "alloc"); rpcerr.Of(err) != rpcerr.Unavailable {
			t.Errorf("when nobody waits any more: %v", err)
		}
		delete(r.parts.parts, node.DEA)
		if err := r.confirmBackend(t.Context(), "n1", "10.0.0.1:20000", "alloc"); err == nil {
			t.Error("a node that is no DEA confirms an instance")
		}
	})
}
