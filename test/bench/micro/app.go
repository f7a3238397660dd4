package micro

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

type resource struct {
	GUID  string `json:"guid"`
	Name  string `json:"name,omitempty"`
	State string `json:"state,omitempty"`
	Error string `json:"error,omitempty"`
}

type (
	named    map[string]any
	relation struct {
		Data resource `json:"data"`
	}
)

func to(guid string) map[string]any {
	return map[string]any{"data": map[string]string{"guid": guid}}
}

// Space makes an organization with a space and returns the space's GUID. Both
// are deleted with all that is in them when the benchmark ends.
func (c *Cloud) Space() string {
	c.tb.Helper()
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	var org, space resource
	c.must(http.MethodPost, "/v3/organizations", named{"name": name}, &org)
	c.tb.Cleanup(func() {
		if err := c.delete("/v3/organizations/" + org.GUID); err != nil {
			c.tb.Errorf("organization %s is left behind: %v", name, err)
		}
	})
	c.must(http.MethodPost, "/v3/spaces", named{"name": "bench", "relationships": named{"organization": to(org.GUID)}}, &space)
	return space.GUID
}

// delete deletes a resource and waits for the job that does it. It is for
// clean-up: the benchmark's own context is done by then.
func (c *Cloud) delete(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	location, err := c.Do(ctx, http.MethodDelete, path, nil, nil)
	if err != nil || location == "" {
		return err
	}
	return c.await(ctx, strings.TrimPrefix(location, "https://api."+Domain), "COMPLETE", 100*time.Millisecond)
}

// await asks for a resource until it is in a state.
func (c *Cloud) await(ctx context.Context, path, state string, pause time.Duration) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		var r resource
		if _, err := c.Do(ctx, http.MethodGet, path, nil, &r); err != nil {
			return err
		}
		switch r.State {
		case state:
			return nil
		case "FAILED":
			return fmt.Errorf("%s failed: %s", path, r.Error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is %s: %w", path, r.State, ctx.Err())
		case <-tick.C:
		}
	}
}

// App is an app of the benchmark.
type App struct {
	c    *Cloud
	GUID string
	Host string
}

// NewApp makes a stopped app with a route and the size of its instances.
func (c *Cloud) NewApp(space, name string, memoryMB int, buildpacks ...string) *App {
	c.tb.Helper()
	var app, route resource
	body := named{"name": name, "relationships": named{"space": to(space)}}
	if len(buildpacks) > 0 {
		body["lifecycle"] = named{"type": "buildpack", "data": named{"buildpacks": buildpacks}}
	}
	c.must(http.MethodPost, "/v3/apps", body, &app)
	c.must(http.MethodPost, "/v3/apps/"+app.GUID+"/processes/web/actions/scale", named{"memory_in_mb": memoryMB, "disk_in_mb": 64}, nil)
	c.must(http.MethodPost, "/v3/routes", named{
		"host": name, "relationships": named{"space": to(space), "domain": to(c.domain())},
	}, &route)
	c.must(http.MethodPost, "/v3/routes/"+route.GUID+"/destinations", named{
		"destinations": []named{{"app": named{"guid": app.GUID}}},
	}, nil)
	return &App{c: c, GUID: app.GUID, Host: name + "." + Domain}
}

func (c *Cloud) domain() string {
	c.tb.Helper()
	var list struct {
		Resources []resource `json:"resources"`
	}
	c.must(http.MethodGet, "/v3/domains?names="+Domain, nil, &list)
	if len(list.Resources) == 0 {
		c.tb.Fatalf("the cloud has no domain %s", Domain)
	}
	return list.Resources[0].GUID
}

// Delete deletes the app; its route stays until the space goes.
func (a *App) Delete() {
	a.c.tb.Helper()
	if err := a.c.delete("/v3/apps/" + a.GUID); err != nil {
		a.c.tb.Error(err)
	}
}

// Upload is the multipart body of a package.
type Upload struct {
	body        []byte
	contentType string
}

// Zip makes a package's upload of a folder.
func Zip(dir fs.FS) (*Upload, error) {
	var archive, form bytes.Buffer
	z := zip.NewWriter(&archive)
	if err := z.AddFS(dir); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	w := multipart.NewWriter(&form)
	if err := w.WriteField("resources", "[]"); err != nil {
		return nil, err
	}
	bits, err := w.CreateFormFile("bits", "package.zip")
	if err != nil {
		return nil, err
	}
	if _, err := bits.Write(archive.Bytes()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return &Upload{form.Bytes(), w.FormDataContentType()}, nil
}

// Upload sends a package and returns its GUID when it is ready.
func (a *App) Upload(u *Upload) (pkg string) {
	a.c.tb.Helper()
	var p resource
	a.c.must(http.MethodPost, "/v3/packages", named{"type": "bits", "relationships": named{"app": to(a.GUID)}}, &p)
	a.c.must(http.MethodPost, "/v3/packages/"+p.GUID+"/upload", u, nil)
	if err := a.c.await(a.c.tb.Context(), "/v3/packages/"+p.GUID, "READY", 10*time.Millisecond); err != nil {
		a.c.tb.Fatal(err)
	}
	return p.GUID
}

// Build stages a package; it returns when the build was accepted.
func (a *App) Build(pkg string) (build string) {
	a.c.tb.Helper()
	var b resource
	a.c.must(http.MethodPost, "/v3/builds", named{"package": resource{GUID: pkg}}, &b)
	return b.GUID
}

// Staged waits for the end of a build and makes its droplet the app's.
func (a *App) Staged(build string) {
	a.c.tb.Helper()
	ctx, cancel := context.WithTimeout(a.c.tb.Context(), 2*time.Minute)
	defer cancel()
	if err := a.c.await(ctx, "/v3/builds/"+build, "STAGED", 10*time.Millisecond); err != nil {
		a.c.tb.Fatal(err)
	}
	var b struct {
		Droplet resource `json:"droplet"`
	}
	a.c.must(http.MethodGet, "/v3/builds/"+build, nil, &b)
	a.c.must(http.MethodPatch, "/v3/apps/"+a.GUID+"/relationships/current_droplet", relation{b.Droplet}, nil)
}

// Start starts the app.
func (a *App) Start() {
	a.c.tb.Helper()
	a.c.must(http.MethodPost, "/v3/apps/"+a.GUID+"/actions/start", nil, nil)
}

// Scale asks for a number of instances.
func (a *App) Scale(instances int) {
	a.c.tb.Helper()
	a.c.must(http.MethodPost, "/v3/apps/"+a.GUID+"/processes/web/actions/scale", named{"instances": instances}, nil)
}

// Roll restarts all instances one after the other and returns when it is done.
func (a *App) Roll(within time.Duration) {
	a.c.tb.Helper()
	ctx, cancel := context.WithTimeout(a.c.tb.Context(), within)
	defer cancel()
	var d struct {
		GUID   string `json:"guid"`
		Status struct {
			Value  string `json:"value"`
			Reason string `json:"reason"`
		} `json:"status"`
	}
	a.c.must(http.MethodPost, "/v3/deployments", named{"strategy": "rolling", "relationships": named{"app": to(a.GUID)}}, &d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for d.Status.Value != "FINALIZED" {
		select {
		case <-ctx.Done():
			a.c.tb.Fatalf("the deployment is %s (%s) after %v", d.Status.Value, d.Status.Reason, within)
		case <-tick.C:
		}
		a.c.must(http.MethodGet, "/v3/deployments/"+d.GUID, nil, &d)
	}
	if d.Status.Reason != "DEPLOYED" {
		a.c.tb.Fatalf("the deployment ended %s", d.Status.Reason)
	}
}

// Process returns the GUID of the app's web process.
func (a *App) Process() string {
	a.c.tb.Helper()
	var p resource
	a.c.must(http.MethodGet, "/v3/apps/"+a.GUID+"/processes/web", nil, &p)
	return p.GUID
}

// Logged returns when a line of the platform appeared in the app's log.
func (a *App) Logged(text string) time.Time {
	a.c.tb.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, e := range a.log() {
			if strings.Contains(string(e.Log.Payload), text) {
				return time.Unix(0, e.Timestamp)
			}
		}
	}
	a.c.tb.Fatalf("the log of %s does not say %q", a.Host, text)
	return time.Time{}
}

type envelope struct {
	Timestamp int64 `json:"timestamp,string"`
	Log       struct {
		Payload []byte `json:"payload"`
	} `json:"log"`
}

func (a *App) log() []envelope {
	a.c.tb.Helper()
	ctx, cancel := context.WithTimeout(a.c.tb.Context(), callTimeout)
	defer cancel()
	token, err := a.c.bearer(ctx)
	if err != nil {
		a.c.tb.Fatal(err)
	}
	url := "https://log-cache." + Domain + "/api/v1/read/" + a.GUID + "?limit=1000&envelope_types=LOG"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		a.c.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "bearer "+token)
	var got struct {
		Envelopes struct {
			Batch []envelope `json:"batch"`
		} `json:"envelopes"`
	}
	if _, err := a.c.send(req, &got); err != nil {
		a.c.tb.Fatal(err)
	}
	return got.Envelopes.Batch
}
