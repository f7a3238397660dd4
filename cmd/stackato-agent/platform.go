package main

import (
	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/consensus"
)

// platform joins the node with the Cloud Controller and the router, which
// know nothing of each other.
type platform struct{ sockets *sockets }

// Register implements agent.Platform.
func (platform) Register(r *consensus.Registry) { registerState(r) }

// Controller implements agent.Platform.
func (platform) Controller(env agent.ControllerEnv) (agent.CloudController, error) {
	return newCloud(env)
}

// Router implements agent.Platform.
func (p platform) Router(env agent.RouterEnv) (agent.Router, error) { return newRouter(env, p.sockets) }
