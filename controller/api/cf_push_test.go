package api

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stackato/stackato/controller/cf"
)

// TestPushWithTheRealClient pushes with the unmodified cf client.
func TestPushWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "hello").has("Staging app and tracing logs...", "name: hello", "requested state: started",
		"routes: hello.stackato.test", "instances: 1/1", "memory usage: 256M", "#0 running")
	p.cf("app", "hello").has("#0 running", "buildpacks:", "staticfile 1.0", "stack: stackato")
	p.cf("apps").has("hello started web:1/1 hello.stackato.test")
	p.cf("delete", "-f", "-r", "hello").has("Deleting app hello")
	p.cf("apps").has("No apps found")
	p.cf("routes").lacks("hello")
}

const wholeManifest = `---
version: 1
defaults: &defaults
  memory: 64M
applications:
- name: whole
  <<: *defaults
  path: .
  instances: 2
  disk_quota: 512M
  log-rate-limit-per-second: 1K
  buildpacks: [staticfile_buildpack]
  stack: stackato
  command: run me
  timeout: 70
  health-check-type: http
  health-check-http-endpoint: /health
  health-check-invocation-timeout: 5
  health-check-interval: 20
  readiness-health-check-type: http
  readiness-health-check-http-endpoint: /ready
  env:
    PLAIN: text
    NUMBER: 12
    MAP: {a: 1}
  routes:
  - route: whole.stackato.test/path
    options: {loadbalancing: least-connection}
  - route: www.stackato.test
    protocol: http2
  services: [db]
  processes:
  - type: worker
    command: work
    instances: 1
    memory: 32M
  sidecars:
  - name: side
    command: watch
    process_types: [web, worker]
    memory: 16M
  metadata:
    labels: {tier: gold}
    annotations: {note: hi}
  features: {ssh: false}
  stackato: {placement-zone: fast}
`

// TestManifestWithTheRealClient pushes an app that says everything, and says
// it again in other words.
func TestManifestWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("cups", "db", "-p", `{"password":"hunter2"}`)
	p.write("manifest.yml", wholeManifest)
	p.cf("push").has("+ - name: whole", "instances: 2/2", "memory usage: 64M", "type: worker", "sidecars: side",
		"routes: whole.stackato.test/path, www.stackato.test")

	v := p.store.Local()
	a, _ := v.AppByName("dev-space", "whole")
	web, _ := v.ProcessByType(a.GUID, "web")
	pv, found := v.ProcessVersion(web.GUID, web.Version)
	if !found || pv.Command != "run me" || pv.DiskMB != 512 || pv.LogRateBytes != 1024 || pv.PlacementZone != "fast" {
		t.Errorf("version of web: %+v", pv)
	}
	if want := (cf.HealthCheck{Type: "http", Endpoint: "/health", Timeout: 70, InvocationTimeout: 5, Interval: 20}); pv.Health != want {
		t.Errorf("health check %+v, want %+v", pv.Health, want)
	}
	if len(pv.Services) != 1 || len(pv.Sidecars) != 1 || len(pv.Env) != 3 || !a.SSHOff {
		t.Errorf("services, sidecars, env: %+v", pv)
	}
	worker, _ := v.ProcessByType(a.GUID, "worker")
	if pv, _ := v.ProcessVersion(worker.GUID, worker.Version); pv.Command != "work" || len(pv.Sidecars) != 1 {
		t.Errorf("version of worker: %+v", pv)
	}

	p.cf("env", "whole").has("PLAIN: text", "NUMBER: 12", `MAP: {"a":1}`, `"password": "hunter2"`, `"whole.stackato.test/path"`)
	p.cf("create-app-manifest", "whole", "-p", p.dir+"/out.yml")
	out, err := os.ReadFile(p.dir + "/out.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"memory: 64M", "placement-zone: fast", "protocol: http2", "- db", "tier: gold", "log-rate-limit-per-second: 1024B"} {
		if !strings.Contains(string(out), part) {
			t.Errorf("create-app-manifest lacks %q:\n%s", part, out)
		}
	}
	// What is shown as a manifest changes nothing when it is applied.
	p.write("manifest.yml", string(out))
	p.cf("apply-manifest").lacks("+ ").lacks("- memory")
	p.write("manifest.yml", strings.ReplaceAll(string(out), "memory: 64M", "memory: 128M"))
	p.cf("apply-manifest").has("- memory: 64M", "+ memory: 128M")
	p.cf("labels", "app", "whole").has("tier gold")
}

// TestPushFlagsWithTheRealClient goes through the ways to push.
func TestPushFlagsWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a", "--no-start", "--no-route").has("requested state: stopped", "instances: 0/1")
	p.cf("app", "a").has("routes:").lacks("stackato.test")
	p.cf("push", "b", "--no-start", "--random-route")
	p.cf("routes").has("dev b-", "stackato.test http http1 8080 b")
	p.cf("push", "c", "--task").has("requested state: stopped")
	p.cf("run-task", "c", "--command", "ls", "--name", "list").has("task name: list", "task id: 1")
	droplet := p.write("droplet.tgz", string(dropletFile("d")))
	p.cf("push", "d", "--droplet", droplet).has("#0 running")
	d, _ := p.store.Local().AppByName("dev-space", "d")
	if web, _ := p.store.Local().ProcessByType(d.GUID, "web"); !p.runs(web, "start-me") {
		t.Errorf("an uploaded droplet does not start with its own command: %+v", web)
	}
}

// TestStrategiesWithTheRealClient deploys with flags, without a gap.
func TestStrategiesWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "c")
	p.cf("push", "c", "-c", "run this", "-i", "2", "-m", "64M", "-k", "100M", "-u", "process", "-b", "staticfile_buildpack", "--strategy", "rolling").
		has("instances: 2/2", "start command: run this", "memory usage: 64M")
	p.cf("push", "c", "--strategy", "canary").has("Active deployment with status PAUSED", "canary-steps: 1/1")
	p.cf("push", "c", "--strategy", "canary", "--instance-steps", "20,60", "--no-wait").has("canary-steps: 1/2")
	p.cf("continue-deployment", "c").has("TIP: Run 'cf app c' to view app status.")
	p.cf("push", "c", "--no-route", "--no-start")
	p.cf("app", "c").lacks("c.stackato.test")
}

// TestSecondUploadWithTheRealClient: a large file is sent once.
func TestSecondUploadWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32()) //nolint:gosec // no secret: what does not compress
	}
	p.write("large.txt", string(noise))
	p.cf("push", "a", "--no-start")
	p.write("index.html", "<h1>two</h1>")
	p.cf("push", "a", "--no-start").has("Uploading files...")
	a, _ := p.store.Local().AppByName("dev-space", "a")
	all := p.store.Local().PackagesOfApp(a.GUID)
	if len(all) != 2 || all[1].State != cf.PackageReady || all[1].Blob.Size < all[0].Blob.Size/2 {
		t.Errorf("packages %+v", all)
	}
	if sizes := p.uploads(); len(sizes) != 2 || sizes[1] > sizes[0]/2 {
		t.Errorf("uploaded bytes %v: the second upload should be small", sizes)
	}
}

// TestRefusedPushesWithTheRealClient: each says why.
func TestRefusedPushesWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cfFails("push", "x", "-b", "no-such-buildpack").has(`Buildpack "no-such-buildpack" must be an existing admin buildpack or a valid git URI`)
	p.cfFails("push", "x", "-s", "windows").has("Stack must be an existing stack")
	p.cfFails("push", "x", "-o", "nginx").has("Docker images and Cloud Native Buildpacks are not supported yet")
	p.cfFails("push", "api").has("Route conflicts with a reserved system route")
	if apps := p.store.Local().Apps(); len(apps) != 0 {
		t.Errorf("refused pushes left apps: %+v", apps)
	}
	p.staging(func(cf.Build) (map[string]string, string) {
		return nil, "NoAppDetectedError - An app was not successfully detected by any available buildpack"
	})
	p.cfFails("push", "x").has("An app was not successfully detected by any available buildpack")
	p.staging(nil)
	p.running.setCrash(true)
	p.cfFails("push", "x").has("Start unsuccessful")
}
