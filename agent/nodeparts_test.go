package agent

import (
	"testing"

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
