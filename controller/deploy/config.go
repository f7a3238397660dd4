package deploy

import (
	"context"
	"log/slog"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

// State is the part of [state.Store] that deployments work on.
type State interface {
	Read(ctx context.Context) (*state.View, error)
	Watch(ctx context.Context, read func(*state.View)) error

	ProgressDeployment(context.Context, state.DeploymentProgress) (cf.Deployment, error)
	CancelDeployment(context.Context, state.Target) (cf.Deployment, error)
	FinishDeployment(context.Context, state.Target) (cf.Deployment, error)
	UpdateTask(context.Context, state.TaskUpdate) (cf.Task, error)
	DeleteProcessVersions(context.Context, ...state.VersionKey) error
}

// Instances is what the nodes say of their instances: [instances.Table].
type Instances interface {
	// OfProcess returns the known instances of a process, in all versions.
	OfProcess(process string) []instance.Status
	// Learned is false until every node has told what runs there, or was
	// given the time to: until then nothing is taken away because it is not
	// seen.
	Learned() bool
	// Stale reports whether a node is not heard of.
	Stale(node string) bool
	Subscribe() *instances.Subscription
}

// Config says what a [Deployer] works with. All fields of the first group are
// needed.
type Config struct {
	// State returns the rows; what is written through it is refused when
	// the term is over (see [state.Store.AsTerm]).
	State     func(term uint64) State
	Nomad     Nomad
	Instances Instances
	// Image returns the image of a stack, by a tag that never moves.
	Image func(stack string) string
	// Zones returns the placement zones that nodes are in.
	Zones func() []string
	Log   *slog.Logger
	// Say writes a line into an app's log; may be nil.
	Say func(app, line string)

	// StackMeta asks for nodes that announce the stack's image, as
	// [AnnounceStacks] makes them.
	StackMeta bool
	// Images returns the images that DEAs have verified, by name of the node,
	// to say why there is no place. May be nil.
	Images func() map[string][]string
	// Settle is how long an instance must have been ready before an old one
	// goes for it: routers learn of it meanwhile. Default 300 ms.
	Settle time.Duration
	// Deadline is how long a deployment may go without another ready
	// instance before it is called off. Default 10 min.
	Deadline time.Duration
	// CancelWithin bounds how long the instances of a deployment that was
	// called off are kept because the old version's do not become ready.
	// Default 5 min.
	CancelWithin time.Duration
	// PlaceWithin is how long a task may wait for room. Default 1 min.
	PlaceWithin time.Duration
	// Resync is how often all jobs are listed. Default 30 s.
	Resync time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Settle, 300 * time.Millisecond},
		{&c.Deadline, 10 * time.Minute},
		{&c.CancelWithin, 5 * time.Minute},
		{&c.PlaceWithin, time.Minute},
		{&c.Resync, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Images == nil {
		c.Images = func() map[string][]string { return nil }
	}
	if c.Say == nil {
		c.Say = func(string, string) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
