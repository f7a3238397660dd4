package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
)

// Identity is who sent a request, from a verified token.
type Identity struct {
	UserID   string // "" for a client's own token
	UserName string
	Origin   string
	ClientID string
	Scopes   []string
}

// Verifier checks bearer tokens.
type Verifier interface {
	// Verify returns whose token it is. Every error means that the token is
	// not valid, unless it is a *cf.Error, which is shown as it is.
	Verify(ctx context.Context, bearer string) (Identity, error)
}

// Instances knows what runs on the nodes.
type Instances interface {
	// OfProcess returns the known instances of a process, in all versions.
	OfProcess(processGUID string) []instance.Status
	// OfApp returns the known instances of all processes of an app.
	OfApp(appGUID string) []instance.Status
	// Measure is OfProcess with usage asked from the nodes just now; a node
	// that is slow or away costs its figures, not the answer.
	Measure(ctx context.Context, processGUID string) []instance.Status
	// Restart stops one instance; its node starts it again.
	Restart(ctx context.Context, allocID string) error
}

// LogWriter takes lines of source API for an app's log.
type LogWriter interface {
	Append(line logs.Line)
}

// Limits bounds what a request may hold.
type Limits struct {
	Body         int64 // bytes of a JSON or YAML body; default 1 MiB
	PackageSize  int64 // bytes of a package upload; default 1 GiB
	DropletSize  int64 // bytes of a droplet upload; default 2 GiB
	PackFileSize int64 // bytes of a buildpack upload; default 1 GiB
	AppMemoryMB  int   // of one instance when none is named; default 256
	AppDiskMB    int   // of one instance when none is named; default 1024
	MaxDiskMB    int   // most of one instance; default 10240
}

// Links are the addresses of other services, for GET /.
type Links struct {
	Login    string // https://login.<domain>
	UAA      string
	LogCache string
	// AppSSH is host:port, "" while there is no SSH; SSHFingerprint is its
	// host key's.
	AppSSH         string
	SSHFingerprint string
}

// Config is what an API is made from. State, Verify, Domain and ExternalURL
// are required.
type Config struct {
	State  *state.Store
	Verify Verifier
	// Domain is the cluster's domain: system hosts and apps are below it.
	Domain string
	// ExternalURL is what clients reach this API by, without a slash at the
	// end: "https://api.<domain>".
	ExternalURL string
	Links       Links
	// Stack is the only stack; default "stackato".
	Stack string

	BlobStore blob.Store     // packages and droplets
	Packages  *blob.Packages // over BlobStore
	Sealer    state.Sealer   // of environments and credentials
	Instances Instances
	// Unplaced says why a version of a process finds no place on any node,
	// "" if it does. nil says nothing.
	Unplaced func(ctx context.Context, process, version string) (string, error)
	Logs     LogWriter
	Limits   Limits
	// RateLimits are asked for at each request; nil limits nothing.
	RateLimits func() RateLimits

	Now     func() time.Time // default time.Now in UTC
	NewGUID func() string    // default random, version 4
	Logger  *slog.Logger     // default discards
}

// API answers requests. It keeps nothing of its own but who asks how often, and
// is safe for concurrent use.
type API struct {
	Config
	handler http.Handler
	limiter *limiter
}

// New returns an API. It starts nothing.
func New(c Config) *API {
	if c.Now == nil {
		c.Now = func() time.Time { return time.Now().UTC() }
	}
	if c.NewGUID == nil {
		c.NewGUID = newGUID
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Stack == "" {
		c.Stack = "stackato"
	}
	if c.RateLimits == nil {
		c.RateLimits = func() RateLimits { return RateLimits{} }
	}
	c.Limits = c.Limits.withDefaults()
	a := &API{Config: c, limiter: newLimiter()}
	a.handler = a.serveRoutes(a.routes())
	return a
}

// Handler returns what answers requests to the API's host.
func (a *API) Handler() http.Handler { return a.handler }

func (l Limits) withDefaults() Limits {
	setDefault(&l.Body, 1<<20)
	setDefault(&l.PackageSize, 1<<30)
	setDefault(&l.DropletSize, 2<<30)
	setDefault(&l.PackFileSize, 1<<30)
	setDefault(&l.AppMemoryMB, 256)
	setDefault(&l.AppDiskMB, 1024)
	setDefault(&l.MaxDiskMB, 10240)
	return l
}

func setDefault[T int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// newGUID returns a random UUID.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
