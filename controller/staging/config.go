package staging

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

// State is the part of [state.Store] that builds work on.
type State interface {
	Read(ctx context.Context) (*state.View, error)
	Watch(ctx context.Context, read func(*state.View)) error
	SetBuildToken(context.Context, state.BuildToken) error
	AddBuildUpload(context.Context, state.BuildUpload) error
	FinishBuild(context.Context, state.BuildFinish) (cf.Build, error)
}

// Nomad is the part of [deploy.Nomad] that builds are followed by.
type Nomad interface {
	Allocation(ctx context.Context, id string) (deploy.Alloc, error)
	Allocations(ctx context.Context, job string) ([]deploy.Alloc, error)
	Unplaced(ctx context.Context, job string) (*deploy.Unplaced, error)
}

// Blobs keeps what builds need and make.
type Blobs interface {
	Put(ctx context.Context, r io.Reader, limit int64) (instance.Blob, error)
	// Open returns the content and its size, -1 if that is not known yet.
	Open(ctx context.Context, digest string) (io.ReadCloser, int64, error)
}

// Settings are the administrator's. They can change at any time.
type Settings struct {
	// Timeout of a build. Default 15 min.
	Timeout time.Duration
	// Certificates are the cluster's further trusted authorities, PEM.
	Certificates string
	// HTTPProxy is where builds fetch through, NoProxy what they do not.
	HTTPProxy, NoProxy string
	// APIURL is where the API is, for VCAP_APPLICATION.
	APIURL string
	// Zones are the placement zones that nodes are in.
	Zones []string
	// Images are what each DEA has verified, by the node's name.
	Images map[string][]string
}

// Config says what a [Stager] works with. The fields of the first group are
// needed.
type Config struct {
	// State returns the rows; what is written through it is refused when
	// the term is over. Term 0 is every controller's.
	State    func(term uint64) State
	Nomad    Nomad
	Blobs    Blobs
	Sealer   state.Sealer
	Settings func() Settings

	// Say writes a line into an app's log, as STG.
	Say func(app, line string)
	Log *slog.Logger
	// UnmetWithin is how long a build waits for a node that may take it,
	// PlaceWithin for room on one. Default 5 s and 1 min.
	UnmetWithin, PlaceWithin time.Duration
	// Poll is how often the builds that run are looked at. Default 500 ms.
	Poll time.Duration
	// DropletBytes bounds a droplet and a build cache. Default 4 GiB.
	DropletBytes int64
	// Now is the clock, GUID makes identifiers; for tests.
	Now  func() time.Time
	GUID func() string
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.UnmetWithin, 5 * time.Second}, {&c.PlaceWithin, time.Minute}, {&c.Poll, 500 * time.Millisecond}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.DropletBytes == 0 {
		c.DropletBytes = 4 << 30
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.GUID == nil {
		c.GUID = uuid.NewString
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Say == nil {
		c.Say = func(string, string) {}
	}
	return c
}

func (c Config) settings() Settings {
	s := c.Settings()
	if s.Timeout <= 0 {
		s.Timeout = 15 * time.Minute
	}
	return s
}
