package nomad

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/nomad/api"
)

// ErrUnregistered means that the client has not registered since it was
// started: it gets no work.
var ErrUnregistered = errors.New("its client is not registered with the servers yet")

// Registered returns nil when the client that runs in this agent has
// registered since it was started, and ErrUnregistered when not; then it
// also makes the client try again at once. Needs agent:read.
//
// A client asks its own server as soon as that answers, which may be before
// the server has read its log: it is refused as unknown, and would wait 15 to
// 30 s (client/client.go, registerRetryIntv). Until then nothing new starts
// on the node, although it counts as ready.
func (c *Client) Registered(ctx context.Context) error {
	var ttl string
	err := c.call(ctx, "ask for its client's heartbeats", func(a *api.Client) error {
		self, err := a.Agent().Self()
		if err == nil {
			ttl = self.Stats["client"]["heartbeat_ttl"] // 0s until a server gave one
		}
		return err
	})
	if err != nil {
		return err
	}
	if d, err := time.ParseDuration(ttl); err != nil || d > 0 {
		return nil //nolint:nilerr // there is no client, or this release of Nomad does not say
	}
	c.wake(ctx)
	return ErrUnregistered
}

// wake makes the client call a server. Whenever such a call gets through,
// everything in the client that waits to try again tries at once
// (client/rpc.go, fireRpcRetryWatcher). What is asked for is refused: without a
// token, so that the client has to ask the servers each time what that may.
func (c *Client) wake(ctx context.Context) {
	anonymous := &Client{c.Caller, c.address, ""}
	_ = anonymous.callFor(ctx, wakeWithin, "wake its client", func(a *api.Client) error {
		_, err := a.Nodes().Stats("", nil)
		return err
	})
}

const wakeWithin = time.Second
