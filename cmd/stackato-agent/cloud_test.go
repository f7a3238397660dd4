package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
)

// cloudOf is a cloud without parts, on node "c1".
func cloudOf(nodes []node.Node, voters ...node.ID) *cloud {
	env := agent.ControllerEnv{
		Self: node.Node{ID: "c1"}, Domain: "cloud.example", APIPort: 7303,
		Topology: func() (agent.Topology, <-chan struct{}) { return agent.Topology{Nodes: nodes, Voters: voters}, nil },
	}
	return &cloud{env: env, nodes: cloudNodes{env}}
}

func TestByHost(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
	}
	h := cloudOf(nil).byHost(map[string]http.Handler{"api": named("api"), "log-cache": named("logs")})
	for host, want := range map[string]string{
		"api.cloud.example":            "200 api",
		"API.Cloud.Example:443":        "200 api",
		"log-cache.cloud.example":      "200 logs",
		"uaa.cloud.example":            "421 no such host here\n",
		"api.other.example":            "421 no such host here\n",
		"x.api.cloud.example":          "421 no such host here\n",
		"cloud.example":                "421 no such host here\n",
		"api.cloud.example.evil":       "421 no such host here\n",
		"[::1]:7303":                   "421 no such host here\n",
		"":                             "421 no such host here\n",
		"api":                          "421 no such host here\n",
		"api.cloud.example.evil:7303":  "421 no such host here\n",
		"log-cache.cloud.example:7303": "200 logs",
	} {
		r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		r.Host = host
		h.ServeHTTP(w, r)
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

// What a store says of a blob must be known as the same on the other side.
func TestBlobErrorsCrossTheWire(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  rpcerr.Code
		retry bool
	}{
		{nil, "", false},
		{blob.ErrNotFound, rpcerr.NotFound, false},
		{blob.ErrFull, rpcerr.Exhausted, false},
		{blob.ErrTooLarge, rpcerr.Invalid, false},
		{blob.ErrCorrupt, rpcerr.Invalid, false},
		{blob.ErrQuorum, rpcerr.Unavailable, true},
		{errors.New("else"), rpcerr.Internal, false},
		{context.DeadlineExceeded, rpcerr.Deadline, false},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("read: %w", err)
		}
		sent := wireBlobError(err)
		if got := rpcerr.Of(sent); got != c.code || rpcerr.Retryable(sent) != c.retry {
			t.Errorf("%v: code %q, retryable %t", c.err, got, rpcerr.Retryable(sent))
		}
		if err == nil {
			continue
		}
		// The cause does not travel.
		came := rpcerr.New(rpcerr.Of(sent), "%s", sent.Error())
		if got := errors.Is(blobError(came), blob.ErrNotFound); got != errors.Is(c.err, blob.ErrNotFound) {
			t.Errorf("%v: on the other side not found is %t", c.err, got)
		}
	}
}

func TestCloudNodes(t *testing.T) {
	controller, dea, router := node.NewRoleSet(node.Controller), node.NewRoleSet(node.DEA), node.NewRoleSet(node.Router)
	c := cloudOf([]node.Node{
		{ID: "c1", Address: "10.0.0.1", Roles: controller},
		{ID: "c2", Address: "10.0.0.2", Roles: node.NewRoleSet(node.Controller, node.DEA), PlacementZones: []string{"ssd", "default"}},
		{ID: "c3", Address: "10.0.0.3", Roles: controller, StoppedRoles: controller},
		{ID: "c4", Roles: router}, // votes still
		{ID: "d1", Roles: dea},
		{ID: "d2", Roles: dea, StoppedRoles: dea, PlacementZones: []string{"stopped"}},
	}, "c1", "c2", "c4")
	type list struct {
		All, Voters []blob.PeerID
		Self        bool
	}
	var got list
	got.All, got.Voters, got.Self = c.nodes.List()
	want := list{[]blob.PeerID{"c2", "c3", "c4"}, []blob.PeerID{"c2", "c4"}, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	deas, _ := c.nodes.DEAs()
	if diff := cmp.Diff([]string{"c2", "d1"}, deas); diff != "" {
		t.Errorf("DEAs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"c1", "c2", "c4", "d1"}, c.nodes.LogNodes("")); diff != "" {
		t.Errorf("nodes with logs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"default", "ssd"}, c.nodes.zones()); diff != "" {
		t.Errorf("zones (-want +got):\n%s", diff)
	}
	if err := c.nodes.States(t.Context(), "nobody", nil); err == nil {
		t.Error("asked a node that does not belong to the cluster")
	}
	system, _ := c.system()
	if diff := cmp.Diff(routing.System{
		Domain:  "cloud.example",
		Hosts:   []string{"api.cloud.example", "login.cloud.example", "uaa.cloud.example", "log-cache.cloud.example"},
		Targets: []string{"10.0.0.1:7303", "10.0.0.2:7303"},
	}, system); diff != "" {
		t.Errorf("system (-want +got):\n%s", diff)
	}
}
