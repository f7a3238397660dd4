package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/rpcerr"
)

// controllerRole is the node's part in consensus and the operations that
// build on it.
type controllerRole struct {
	r    *runtime
	cons *consensus.Node
	ctl  *cluster.Controller
	reg  *consensus.Registry
	boss *primaryWork
	// cloud is nil without a platform.
	cloud CloudController
}

// raftTiming returns the timers of a profile. Tests set it before they begin.
var raftTiming = consensus.TimingProfile

// openController opens the replicated state on this node.
func openController(ctx context.Context, r *runtime) (*controllerRole, error) {
	ring, err := r.sealingRing(ctx)
	if err != nil {
		return nil, err
	}
	timing, err := raftTiming(r.cfg.Timing)
	if err != nil {
		return nil, err
	}
	c := &controllerRole{r: r, reg: cluster.Registry()}
	if r.agent.platform != nil {
		r.agent.platform.Register(c.reg)
	}
	c.cons, err = consensus.Open(consensus.Config{
		ID: r.id.ID, Address: r.dir.get().Self.RPCAddr(), Dir: r.cfg.raftDir(),
		Timing: timing, Stream: raftStream{r.server.Raft(), r}, Peers: cluster.Peers{Client: r.client},
		Logger: r.log, Lead: c.lead,
	}, c.reg)
	if err != nil {
		return nil, err
	}
	c.ctl = cluster.NewController(cluster.Config{
		Self: r.id.ID, Consensus: c.cons, Ring: ring, RingFile: r.cfg.ringFile(), Now: r.cfg.Now, Hints: r,
		Version: buildinfo.Version, Logger: r.log, Admitted: c.admitted, Removed: c.removed,
	})
	c.boss = newPrimaryWork(r, c)
	err = c.bootstrap()
	if err == nil && r.agent.platform != nil {
		c.cloud, err = r.agent.platform.Controller(c.cloudEnv(ring))
	}
	if err != nil {
		return nil, errors.Join(err, c.cons.Close())
	}
	return c, nil
}

// cloudEnv is what the Cloud Controller gets from this node.
func (c *controllerRole) cloudEnv(ring *seal.Ring) ControllerEnv {
	r, a := c.r, c.r.dir.get()
	return ControllerEnv{
		Self: a.Self, ClusterID: r.id.ClusterID, Domain: a.Domain, Dir: r.cfg.path("controller"),
		Consensus: c.cons, Cluster: c.ctl, Listen: r.apiListener, MayCall: r.mayCallAPI, APIPort: r.cfg.Ports.API, Nomad: nomadHTTP,
		Topology: func() (Topology, <-chan struct{}) {
			a, changed := r.dir.watch()
			return Topology{a.Nodes, a.Voters}, changed
		},
		Seal:  func(plain []byte, context string) []byte { return ring.Seal(plain, []byte(context)) },
		Open:  func(sealed []byte, context string) ([]byte, error) { return ring.Open(sealed, []byte(context)) },
		Nodes: nodeCalls{r}, Logs: logStore{r}, Logger: r.log, Now: r.cfg.Now,
	}
}

// bootstrap makes a new group on the first node of a cluster.
func (c *controllerRole) bootstrap() error {
	f, err := c.r.store.founding()
	if err != nil || f == nil {
		return err
	}
	has, err := c.cons.HasState()
	if err != nil || has {
		return err
	}
	return c.cons.Bootstrap()
}

// run writes the founding of a new cluster into Raft; then it waits.
func (c *controllerRole) run(ctx context.Context) error {
	f, err := c.r.store.founding()
	if err != nil {
		return err
	}
	if f != nil {
		err := retry(ctx, func() error {
			if err := c.cons.ReportSelf(ctx); err != nil {
				return err
			}
			return c.ctl.Found(ctx, *f)
		})
		if err != nil && !errors.Is(err, rpcerr.Conflict) {
			return err
		}
		if err := atomicfile.Remove(c.r.cfg.foundingFile()); err != nil {
			return err
		}
	}
	if err := retry(ctx, c.writeToolsFile); err != nil && ctx.Err() == nil {
		c.r.log.Warn("write the file for the consul and nomad tools", "err", err)
	}
	<-ctx.Done()
	return nil
}

// writeToolsFile lets operators use the ordinary consul and nomad commands on
// a controller, as root: "set -a; . tools.env".
func (c *controllerRole) writeToolsFile() error {
	consulToken, nomadToken, err := c.ctl.ManagementTokens()
	if err != nil { // a node that just joined does not have the tables yet
		return rpcerr.New(rpcerr.Unavailable, "%w", err)
	}
	text := fmt.Sprintf("# For the consul and nomad commands on this controller: set -a; . %s\n"+
		"CONSUL_HTTP_ADDR=%s\nCONSUL_HTTP_TOKEN=%s\nNOMAD_ADDR=http://%s\nNOMAD_TOKEN=%s\n",
		c.r.cfg.toolsFile(), consulHTTP, consulToken, nomadHTTP, nomadToken)
	return atomicfile.Write(c.r.cfg.toolsFile(), []byte(text), 0o600)
}

// lead does the Primary's work in the given term.
func (c *controllerRole) lead(ctx context.Context, term uint64) {
	var wg sync.WaitGroup
	wg.Go(func() { c.boss.run(ctx, term) })
	if c.cloud != nil {
		wg.Go(func() { c.cloud.Lead(ctx, term) })
	}
	wg.Wait()
}

// admitTimeout bounds what is done in Consul for a node that comes or goes.
const admitTimeout = 3 * time.Second

// admitted makes the Consul token of a node that joins before its Consul
// starts: Consul remembers for 30 s that a token does not exist. What fails
// here is made up for by the Primary.
func (c *controllerRole) admitted(ctx context.Context, n node.Node) {
	err := c.withConsul(ctx, func(ctx context.Context, client *consul.Client) error {
		return c.boss.ensureConsulToken(ctx, client, n)
	})
	if err != nil {
		c.r.log.Warn("make the joining node's Consul token; the Primary will", "joining", n.Name, "err", err)
	}
}

// removed ends the Consul token of a node that was taken out.
func (c *controllerRole) removed(ctx context.Context, n node.Node) {
	err := c.withConsul(ctx, func(ctx context.Context, client *consul.Client) error {
		return client.RemoveNodeToken(ctx, n.Name, string(n.ID))
	})
	if err != nil {
		c.r.log.Error("delete the Consul token of a node that was removed", "removed", n.Name,
			"err", err, "hint", "consul acl token delete -accessor-id "+string(n.ID))
	}
}

// withConsul calls fn with the management token, for a short time.
func (c *controllerRole) withConsul(ctx context.Context, fn func(context.Context, *consul.Client) error) error {
	if !c.r.cfg.Children {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	management, _, err := c.ctl.ManagementTokens()
	if err != nil {
		return err
	}
	client := consul.NewClient(consulHTTP, management)
	defer client.Close()
	return fn(ctx, client)
}

// inGroup reports whether Raft on this node knows of a group.
func (c *controllerRole) inGroup() bool {
	servers, _ := c.cons.Servers()
	return len(servers) > 0
}

// ringWait bounds how long a node that has the role by its assignment waits for
// the sealing keys before it goes on without it, to try again at the next check.
const ringWait = 5 * time.Second

// becomeController ends this life for one with the controller role, once the
// keys are here that it needs: until then the node's other roles go on.
func (r *runtime) becomeController(ctx context.Context) {
	call, cancel := context.WithTimeout(ctx, ringWait)
	defer cancel()
	if _, err := r.sealingRing(call); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("this node is to be a controller, and cannot yet; will try again", "err", err)
		}
		return
	}
	r.log.Info("this node becomes a controller")
	r.over(nil)
}

// sealingRing loads the ring, or gets it from another controller when the
// role is new on this node. That controller may hear of the role later than
// this node does: its refusal is not the last word before ctx is done, or a
// minute is over.
func (r *runtime) sealingRing(ctx context.Context) (*seal.Ring, error) {
	ring, err := r.store.ring()
	if err != nil || ring != nil {
		return ring, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var data []byte
	again := func(err error) bool { return mayPass(err) || errors.Is(err, rpcerr.Denied) }
	err = retryWhile(ctx, again, func() error {
		resp, err := ask(ctx, r, cluster.MethodRing, &rpc.Empty{})
		if err == nil {
			data = resp.Data
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get the sealing keys from another controller: %w", err)
	}
	if ring, err = seal.Unmarshal(data); err != nil {
		return nil, err
	}
	return ring, ring.SaveFile(r.cfg.ringFile())
}

// raftStream carries Raft over the agent's port.
type raftStream struct {
	net.Listener
	r *runtime
}

// DialRaft implements consensus.StreamLayer. The peer must be the member that
// has this address.
func (s raftStream) DialRaft(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.r.client.DialRaft(ctx, rpc.Target{ID: s.r.idOf(addr), Addr: addr})
}

// idOf returns the node that has an RPC address, "" if none is known to.
func (r *runtime) idOf(addr string) node.ID {
	for _, n := range r.dir.get().Nodes {
		if n.RPCAddr() == addr {
			return n.ID
		}
	}
	return ""
}

// dropController deletes what only controllers hold.
func (r *runtime) dropController() error {
	if err := os.RemoveAll(r.cfg.raftDir()); err != nil {
		return err
	}
	return errors.Join(atomicfile.Remove(r.cfg.ringFile()), atomicfile.Remove(r.cfg.toolsFile()))
}

// retry repeats fn, with growing pauses and jitter, until it succeeds, fails
// for good, or ctx is done.
func retry(ctx context.Context, fn func() error) error { return retryWhile(ctx, mayPass, fn) }

// mayPass says whether the same call may succeed a little later. That nobody
// knows what became of it counts: what is repeated here does no harm when it
// was done before.
func mayPass(err error) bool {
	return rpcerr.Retryable(err) || errors.Is(err, rpcerr.Deadline) || errors.Is(err, context.DeadlineExceeded)
}

// retryWhile is retry with another opinion of what may pass.
func retryWhile(ctx context.Context, again func(error) bool, fn func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := fn()
		if err == nil || !again(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}
