package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/staging"
)

// Controllers is what fence asks of any controller. Errors are coded as
// package rpcerr says: Unavailable and Deadline are tried again, others are
// final. All methods may be called concurrently and obey their context.
type Controllers interface {
	// Instance returns what an allocation on this node is started from. The
	// controller checks that the allocation is placed here and belongs to
	// that version of the process (or to that task).
	Instance(ctx context.Context, allocID, kind, process, version string) (instance.Spec, error)
	// Build returns what a staging allocation on this node works on.
	Build(ctx context.Context, allocID, build string) (staging.Spec, error)
	// Blob opens a blob and tells its size, -1 if unknown. token is a
	// build's, or "" for a droplet that is to run on this node.
	Blob(ctx context.Context, digest, token string) (io.ReadCloser, int64, error)
	// PutDroplet and PutCache store what a build made. r is read once.
	PutDroplet(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error)
	PutCache(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error)
	// Result reports the end of a build. Reporting it twice does no harm.
	Result(ctx context.Context, token string, r staging.Result) error
}

// Routers takes instances out of the routes.
type Routers interface {
	// Withdraw returns when every router has confirmed, or when ctx ends.
	Withdraw(ctx context.Context, w routing.Withdrawal) error
}

// Observer learns of containers, so that their logs can be followed: once that
// each started, before its app writes anything, and once that it ended; for
// one that ended early both at the same time. The methods may be called concurrently and
// must not block. After a restart of the agent Started is called for those
// that run.
type Observer interface {
	Started(Container)
	Ended(Container)
}

// Schedule is how often a crashing instance is started.
type Schedule struct {
	AtOnce int           // restarts without any wait; default 3
	First  time.Duration // the first wait, which then doubles; default 30 s
	Max    time.Duration // the longest wait; default 16 min
	Reset  time.Duration // an instance that ran this long has no past; default 5 min
}

// Timing holds the intervals of checks and of housekeeping. Zero values are
// Cloud Foundry's, which the fields name.
type Timing struct {
	StartTimeout time.Duration // until the first success of the start-up check; 60 s
	PollMin      time.Duration // first pause between two start-up checks; 20 ms
	PollMax      time.Duration // last one; 250 ms
	Invocation   time.Duration // bound of one check; 1 s
	Interval     time.Duration // between two checks of a healthy instance; 30 s
	Withdraw     time.Duration // bound for the routers at a stop; 5 s
	Grace        time.Duration // from SIGTERM to SIGKILL; 10 s
	Linger       time.Duration // until an instance without container is Gone; 30 s
	Measure      time.Duration // between two measurements; 10 s
	Retry        time.Duration // first pause after a failed call; 100 ms, grows to 5 s
	Housekeep    time.Duration // between two rounds of pruning; 5 min
	Ended        time.Duration // between two looks for ended containers that stayed; 10 s
	Images       time.Duration // between two looks for the images; 1 s
	Adopt        time.Duration // bound of the first snapshot's wait for what ran before; 2 s
	Space        time.Duration // between two looks at the free space; 250 ms
}

// Config makes a Fence. Engine, Dir, Node, Address and Controllers are needed.
type Config struct {
	Engine *Engine
	// Dir is fence's own directory, an absolute path: public/ (mounted into
	// containers), blobs/, specs/ and the node-local key.
	Dir string
	// Node is the node's ID, Address its IP address in the cluster: where
	// published ports of containers are reached.
	Node    string
	Address string
	// Programs are files to copy into public/bin: the static launcher and
	// stager.
	Programs []string
	// Images must be on the node before Ready says that it can take work:
	// the stack image, by its tag.
	Images      func() []string
	Controllers Controllers
	Routers     Routers // nil: nothing is withdrawn
	// Log takes a line for an app's log: source is a source type such as
	// "CELL". It must not block. nil drops the lines.
	Log func(app, source, index, line string)
	// Observer may be nil.
	Observer Observer
	// Certificates returns the node's bundle of trusted authorities, PEM.
	// nil reads the system's.
	Certificates func() ([]byte, error)
	// Guard keeps containers from reaching nodes and each other. Run runs it;
	// nil guards nothing.
	Guard *Guard
	// CacheBytes bounds the blobs that are kept; default 10 GiB.
	CacheBytes int64
	// UploadBytes bounds a droplet or build cache; default 4 GiB.
	UploadBytes int64
	// MinFiles is how many files every container may hold; default 100,000. A
	// larger disk limit brings more, one for each 8 KiB.
	MinFiles int64
	// DiskShare bounds what measuring disks may cost: after one that took a second
	// the next waits this many; default 50.
	DiskShare int
	// Space says how much room there is for what containers write; nil asks the
	// file system that the engine's directory is on.
	Space    func() (Space, error)
	Schedule Schedule
	Timing   Timing
	Logger   *slog.Logger     // nil: slog.Default
	Now      func() time.Time // nil: time.Now
}

func (c Config) withDefaults() Config {
	s := &c.Schedule
	s.AtOnce = cmp.Or(s.AtOnce, 3)
	s.First = cmp.Or(s.First, 30*time.Second)
	s.Max = cmp.Or(s.Max, 16*time.Minute)
	s.Reset = cmp.Or(s.Reset, 5*time.Minute)
	t := &c.Timing
	t.StartTimeout = cmp.Or(t.StartTimeout, time.Minute)
	t.PollMin = cmp.Or(t.PollMin, 20*time.Millisecond)
	t.PollMax = cmp.Or(t.PollMax, 250*time.Millisecond)
	t.Invocation = cmp.Or(t.Invocation, time.Second)
	t.Interval = cmp.Or(t.Interval, 30*time.Second)
	t.Withdraw = cmp.Or(t.Withdraw, 5*time.Second)
	t.Grace = cmp.Or(t.Grace, 10*time.Second)
	t.Linger = cmp.Or(t.Linger, 30*time.Second)
	t.Measure = cmp.Or(t.Measure, 10*time.Second)
	t.Retry = cmp.Or(t.Retry, 100*time.Millisecond)
	t.Housekeep = cmp.Or(t.Housekeep, 5*time.Minute)
	t.Ended = cmp.Or(t.Ended, 10*time.Second)
	t.Images = cmp.Or(t.Images, time.Second)
	t.Adopt = cmp.Or(t.Adopt, 2*time.Second)
	t.Space = cmp.Or(t.Space, 250*time.Millisecond)
	c.CacheBytes = cmp.Or(c.CacheBytes, 10<<30)
	c.UploadBytes = cmp.Or(c.UploadBytes, 4<<30)
	c.MinFiles = cmp.Or(c.MinFiles, minFiles)
	c.DiskShare = cmp.Or(c.DiskShare, 50)
	if c.Log == nil {
		c.Log = func(_, _, _, _ string) {}
	}
	if c.Certificates == nil {
		c.Certificates = systemCertificates
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Engine == nil:
		return errors.New("fence: Engine is missing")
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("fence: Dir %q is not an absolute path", c.Dir)
	case c.Node == "":
		return errors.New("fence: Node is missing")
	case c.Controllers == nil:
		return errors.New("fence: Controllers is missing")
	}
	if _, err := netip.ParseAddr(c.Address); err != nil {
		return fmt.Errorf("fence: Address: %w", err)
	}
	return nil
}
