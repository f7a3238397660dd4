package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/controller/api"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/health"
	"github.com/stackato/stackato/controller/logcache"
	"github.com/stackato/stackato/controller/staging"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/controller/uaa"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/logs"
)

// parts are what answers developers and nodes.
type parts struct {
	uaa    *uaa.Server
	api    *api.API
	stager *staging.Stager
	specs  *deploy.Specs
	health *health.Manager
	// deployer is nil before this node was Primary for the first time.
	deployer atomic.Pointer[deploy.Deployer]
}

// makeParts makes them and what is served for each system host.
func (c *cloud) makeParts() {
	env := c.env
	c.uaa = uaa.New(uaa.Config{
		State: c.store, Sealer: sealer{env}, Admin: firstAdmin{env.Cluster},
		URL: c.url("uaa"), LoginURL: c.url("login"), Logger: env.Logger, Now: c.now,
	})
	c.stager = staging.New(staging.Config{
		State:  func(term uint64) staging.State { return c.asTerm(term) },
		Nomad:  &c.nomad,
		Blobs:  c.blobs,
		Sealer: sealer{env}, Settings: c.stagingSettings,
		Say: c.say, Log: env.Logger, Now: c.now,
	})
	c.specs = deploy.NewSpecs(deploy.SpecConfig{
		State: c.store, Placement: &c.nomad, Sealer: sealer{env}, Blobs: c.blobs,
		APIURL:       func() string { return c.url("api") },
		Certificates: c.settings.certificates,
	})
	c.api = api.New(api.Config{
		State: c.store, Verify: verifier{c.uaa}, Domain: env.Domain, ExternalURL: c.url("api"),
		Links:     api.Links{Login: c.url("login"), UAA: c.url("uaa"), LogCache: c.url("log-cache")},
		BlobStore: c.blobs, Packages: c.packages, Sealer: sealer{env},
		Instances: c.instances, Logs: env.Logs, RateLimits: c.settings.rateLimits, Now: c.now, Logger: env.Logger,
		Unplaced: func(ctx context.Context, process, version string) (string, error) {
			return c.unplaced(ctx, jobs.AppID(process, version))
		},
	})
	c.health = health.New(health.Config{
		State:     func(term uint64) health.State { return c.asTerm(term) },
		Instances: c.instances, Resync: c.resync, Unplaced: c.unplaced, Log: env.Logger, Now: c.now,
	})
	c.instances.OnChange(c.health.Observe)
	c.web = c.byHost(map[string]http.Handler{
		"api": c.api.Handler(), "login": c.uaa, "uaa": c.uaa,
		"log-cache": logcache.New(logcache.Config{Nodes: c.nodes, Allowed: c.mayReadLogs, Log: env.Logger}),
	})
}

// resync makes the deployer put right what differs.
func (c *cloud) resync() {
	if d := c.deployer.Load(); d != nil {
		d.Resync()
	}
}

// unplaced says why instances of a job are nowhere, "" if that is not known.
func (c *cloud) unplaced(ctx context.Context, job string) (string, error) {
	return deploy.WhyDown(ctx, &c.nomad, job, c.nodes.zones(), c.images())
}

// now is the node's clock, in UTC as the API shows times.
func (c *cloud) now() time.Time { return c.env.Now().UTC() }

// url is where clients see a system host.
func (c *cloud) url(label string) string { return "https://" + c.host(label) }

// asTerm returns a store for the Primary's work; term 0 is every controller's.
func (c *cloud) asTerm(term uint64) *state.Store {
	if term == 0 {
		return c.store
	}
	return c.store.AsTerm(term)
}

// say writes a line of staging into an app's log, tell one of the API.
func (c *cloud) say(app, line string)  { c.write(logs.SourceStaging, app, line) }
func (c *cloud) tell(app, line string) { c.write(logs.SourceAPI, app, line) }

func (c *cloud) write(source, app, line string) {
	c.env.Logs.Append(logs.Line{Time: c.now().UnixNano(), AppGUID: app, SourceType: source, InstanceID: "0", Message: []byte(line)})
}

func (c *cloud) stagingSettings() staging.Settings {
	return staging.Settings{
		Certificates: c.settings.certificates(),
		HTTPProxy:    c.settings.text(agent.SettingStagingProxy), NoProxy: c.settings.text(agent.SettingStagingNoProxy),
		APIURL: c.url("api"), Zones: c.nodes.zones(), Images: c.images(),
	}
}

// mayReadLogs implements logcache.Config.Allowed.
func (c *cloud) mayReadLogs(ctx context.Context, r *http.Request, appGUID string) error {
	return c.api.MayReadApp(ctx, r, appGUID)
}

// verifier implements api.Verifier.
type verifier struct{ uaa *uaa.Server }

// Verify implements api.Verifier.
func (v verifier) Verify(ctx context.Context, bearer string) (api.Identity, error) {
	id, err := v.uaa.Verify(ctx, bearer)
	if err != nil {
		return api.Identity{}, err
	}
	return api.Identity{UserID: id.UserID, UserName: id.UserName, Origin: id.Origin, ClientID: id.ClientID, Scopes: id.Scopes}, nil
}
