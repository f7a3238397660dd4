package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/test/cluster"
)

// keys are the settings that clients write. Few: clients have to meet.
var keys = []string{"chaos/a", "chaos/b", "chaos/c"}

// values are the numbers that clients write: no two writes have the same.
var values atomic.Int64

// clientNumbers numbers clients. One whose call has an unknown outcome goes on
// under a new number: a client has one call open at a time.
var clientNumbers atomic.Int64

func newClientNumber() int { return int(clientNumbers.Add(1)) }

// callTimeout bounds a client's call. An agent decides sooner.
const callTimeout = 12 * time.Second

// mayHaveHappened reports whether a write that failed may take effect all the
// same.
func mayHaveHappened(err error) bool {
	var e *local.Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.ErrCode {
	case local.CodeTimeout, local.CodeInternal:
		return true
	case local.CodeUnavailable: // by the agent: nothing was done; by the client: it broke off
		return strings.HasPrefix(e.Message, "the agent ")
	}
	return false
}

// call makes one call through a node's local API.
func (h *history) call(ctx context.Context, client int, n *cluster.Node, in op) (answer, error) {
	in.node = n.Name
	return h.record(client, in, func() (answer, error) {
		// It outlives ctx: each has to end for the history.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		if h.typed {
			return typed(ctx, n, in)
		}
		if in.kind == "read" {
			list, err := n.Client().ConfigList(ctx, in.key)
			if err != nil {
				return answer{}, err
			}
			return read(list, in.key)
		}
		req := local.ConfigSetRequest{Key: in.key, Value: json.RawMessage(fmt.Sprint(in.value))}
		if in.kind == "cas" {
			req.IfVersion = &in.old
		}
		e, err := n.Client().ConfigSet(ctx, req)
		var failed *local.Error
		if in.kind == "cas" && errors.As(err, &failed) && failed.ErrCode == local.CodeConflict {
			return answer{refused: true}, nil
		}
		if err != nil {
			return answer{}, err
		}
		return read([]local.ConfigEntry{e}, in.key)
	})
}

// typed makes a call as a person does, by the command kato on the node. A cas is
// not to be had there: it is a write.
func typed(ctx context.Context, n *cluster.Node, in op) (answer, error) {
	if in.kind == "read" {
		var list []local.ConfigEntry
		if err := n.KatoJSON(ctx, &list, "config", "get", in.key[:strings.LastIndexByte(in.key, '/')]); err != nil {
			return answer{}, notDone(err)
		}
		return read(list, in.key)
	}
	var e local.ConfigEntry
	if err := n.KatoJSON(ctx, &e, "config", "set", in.key, fmt.Sprint(in.value)); err != nil {
		return answer{}, notDone(err)
	}
	return read([]local.ConfigEntry{e}, in.key)
}

// notDone is the error that kato --json printed, if it printed one.
func notDone(err error) error {
	var failed *cluster.CommandError
	var said struct {
		Error *local.Error `json:"error"`
	}
	if errors.As(err, &failed) && json.Unmarshal([]byte(failed.Stderr), &said) == nil && said.Error != nil {
		return said.Error
	}
	return err
}

// load is a number of clients that read and write until stopped.
type load struct {
	*history
	stop func() // returns when all have ended
}

// startLoad starts one client for each target; a client asks its target for
// the node to use before each call, nil makes it wait.
func startLoad(t *testing.T, targets ...func() *cluster.Node) *load {
	t.Helper()
	return startClients(t, newHistory(), targets)
}

// startTyping is startLoad with clients that type kato.
func startTyping(t *testing.T, targets ...func() *cluster.Node) *load {
	t.Helper()
	h := newHistory()
	h.typed = true
	return startClients(t, h, targets)
}

func startClients(t *testing.T, h *history, targets []func() *cluster.Node) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{history: h}
	var wg sync.WaitGroup
	for _, target := range targets {
		wg.Go(func() { l.client(ctx, target) })
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(l.stop)
	return l
}

// fixed are targets that use one node each.
func fixed(nodes ...*cluster.Node) []func() *cluster.Node {
	out := make([]func() *cluster.Node, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, func() *cluster.Node { return n })
	}
	return out
}

func (l *load) client(ctx context.Context, target func() *cluster.Node) {
	number := newClientNumber()
	seen := map[string]uint64{}
	for ctx.Err() == nil {
		rest := time.Duration(10+rand.IntN(20)) * time.Millisecond
		if n := target(); n != nil {
			kinds := []string{"read", "write", "write", "cas"}
			if l.typed {
				kinds = kinds[:3]
			}
			in := op{kind: kinds[rand.IntN(len(kinds))], key: keys[rand.IntN(len(keys))], value: values.Add(1)}
			in.old = seen[in.key]
			out, err := l.call(ctx, number, n, in)
			switch {
			case err != nil:
				number = newClientNumber()
				rest *= 10 // unknown outcomes make checking expensive
			case !out.refused:
				seen[in.key] = out.version
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
	}
}

// finish stops the clients, reads every register through every node and
// checks the whole history.
func (l *load) finish(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	t.Helper()
	l.stop()
	for _, n := range c.Nodes() {
		client := newClientNumber()
		for _, key := range keys {
			if _, err := l.call(ctx, client, n, op{kind: "read", key: key}); err != nil {
				t.Errorf("%s: read %s: %v", n.Name, key, err)
			}
		}
	}
	l.check(t)
}

// progress waits until each node has acknowledged so many more writes.
func (l *load) progress(ctx context.Context, c *cluster.Cluster, more int, nodes ...*cluster.Node) error {
	want := map[string]int{}
	for _, n := range nodes {
		want[n.Name] = l.acks(n.Name) + more
	}
	return c.WaitFor(ctx, fmt.Sprintf("%d more writes through each of %s", more, names(nodes)), func() error {
		for name, count := range want {
			if got := l.acks(name); got < count {
				return fmt.Errorf("%s has acknowledged %d, not %d", name, got, count)
			}
		}
		return nil
	})
}
