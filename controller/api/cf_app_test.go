package api

import (
	"context"
	"errors"
	"testing"
)

// TestAppsWithTheRealClient goes through a day with one app.
func TestAppsWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a", "-i", "2")
	p.cf("stop", "a").has("OK")
	p.cf("app", "a").has("requested state: stopped")
	p.cf("start", "a").has("#0 running", "#1 running")
	p.cf("restart", "a").has("#0 running")
	p.cf("restage", "a").has("Staging app and tracing logs", "#0 running")
	p.cf("restart", "a", "--strategy", "rolling").has("#0 running")
	p.cf("scale", "a", "-i", "3").has("instances: 3/3")
	p.cf("scale", "a", "-f", "-m", "128M", "-k", "256M").has("memory usage: 128M")
	p.cfFails("scale", "a", "-f", "-m", "100T").has("Memory in mb must be less than or equal to 4194304")
	p.cf("restart-app-instance", "a", "1").has("OK")
	if got := p.running.restarts(); len(got) != 1 || got[0][len(got[0])-2:] != "-1" {
		t.Errorf("restarted %v", got)
	}
	p.cfFails("restart-app-instance", "a", "7").has("Instance 7 of process web not found")

	p.cf("delete", "-f", "a").has("OK")
	p.cf("delete", "-f", "a").has("App 'a' does not exist")
	p.cf("routes").has("a stackato.test") // stays without -r
}

// TestSettingsWithTheRealClient changes all that an app is, and looks at it.
func TestSettingsWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a")
	p.cf("set-env", "a", "COLOR", "blue").has("OK")
	p.cf("env", "a").has("COLOR: blue")
	p.cf("unset-env", "a", "COLOR").has("OK")
	p.cf("env", "a").lacks("COLOR")
	p.cfFails("set-env", "a", "VCAP_X", "1").has("Environment variables cannot start with VCAP_")

	p.cf("set-health-check", "a", "http", "--endpoint", "/up", "--invocation-timeout", "9").has("OK")
	p.cf("get-health-check", "a").has("web http /up 9")
	p.cf("set-health-check", "a", "process").has("OK")
	p.cf("get-readiness-health-check", "a").has("web process")

	p.cf("set-label", "app", "a", "tier=gold").has("OK")
	p.cf("labels", "app", "a").has("tier gold")
	p.cf("apps", "--labels", "tier=gold").has("a started")
	p.cf("unset-label", "app", "a", "tier").has("OK")
	p.cf("logs", "a", "--recent").has("Created app with guid", "[STG/] OUT Staging", "Applied manifest to app with guid")
	p.cf("events", "a").has("audit.app.create", "audit.app.restart", "audit.app.process.update", "dev")
	p.cf("rename", "a", "b").has("OK")
	p.cf("app", "b", "--guid")
	p.cfFails("app", "a").has("App 'a' not found")
}

// TestDropletsWithTheRealClient: packages, droplets, revisions, roll-backs.
func TestDropletsWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a")
	p.write("index.html", "<h1>two</h1>")
	p.cf("push", "a")
	p.cf("packages", "a").has("ready")
	p.cf("droplets", "a").has("(current)", "staged")
	p.cf("revisions", "a").has("2(deployed) New droplet deployed.", "1 Initial revision.")

	v := p.store.Local()
	a, _ := v.AppByName("dev-space", "a")
	first, second := v.DropletsOfApp(a.GUID)[0], v.DropletsOfApp(a.GUID)[1]
	p.cf("rollback", "a", "--version", "1", "-f").has("OK")
	a, _ = p.store.Local().App(a.GUID)
	if a.DropletGUID != first.GUID {
		t.Errorf("the current droplet is %s, want the first one", a.DropletGUID)
	}
	p.cf("revisions", "a").has("3(deployed)", "Rolled back to revision 1.")
	p.cf("revision", "a", "--version", "1").has("Initial revision.")
	p.cf("set-droplet", "a", second.GUID).has("OK")
	p.cfFails("set-droplet", "a", "nonsense").has("Unable to assign current droplet. Ensure the droplet exists and belongs to this app.")
	p.cf("download-droplet", "a", "--path", p.dir+"/got.tgz").has("OK")
	p.cf("create-app", "c")
	p.cf("copy-source", "a", "c", "--no-restart").has("OK")
	p.cf("stage-package", "a").has("droplet guid")

	p.cf("restart", "a", "--strategy", "canary").has("Active deployment with status PAUSED", "canary-steps: 1/1")
	p.cf("cancel-deployment", "a").has("OK")
	p.cfFails("cancel-deployment", "a").has("No active deployment found for app.")
}

// TestTasksWithTheRealClient runs tasks.
func TestTasksWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a", "--task")
	p.cf("run-task", "a", "--command", "echo hi", "--name", "greet", "-m", "64M", "--wait").has("Task has completed successfully")
	p.cf("run-task", "a", "--command", "sleep 1000").has("task id: 2")
	p.cf("tasks", "a").has("greet SUCCEEDED", "echo hi", "2 ", "RUNNING")
	p.cf("task", "a", "1").has("greet", "SUCCEEDED")
	p.cf("terminate-task", "a", "2").has("OK")
	p.cfFails("terminate-task", "a", "9").has("Task sequence ID 9 not found")
	p.cfFails("run-task", "a", "--process", "nothing").has("Process nothing not found")
}

// TestServicesWithTheRealClient: user-provided services and bindings.
func TestServicesWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a", "--no-start")
	p.cf("services").has("No service instances found")
	p.cf("cups", "db", "-p", `{"password":"hunter2"}`, "-t", "sql, big").has("OK")
	p.cf("cups", "db").has("Service instance db already exists")
	p.cf("services").has("db user-provided")
	p.cf("service", "db").has("name: db", "type: user-provided", "tags: sql, big")
	p.cf("bind-service", "a", "db", "--binding-name", "store").has("OK")
	p.cf("bind-service", "a", "db").has("App a is already bound to service instance db.")
	p.cf("services").has("db user-provided a")
	p.cf("env", "a").has(`"password": "hunter2"`, `"name": "store"`, `"sql"`)
	p.cf("uups", "db", "-p", `{"password":"other"}`, "-l", "syslog://logs.example.com:514").has("OK")
	p.cf("env", "a").has(`"password": "other"`).lacks("hunter2")
	p.cf("service", "db").has("syslog drain url: syslog://logs.example.com:514", "a store")
	p.cf("rename-service", "db", "base").has("OK")
	p.cfFails("create-service-key", "base", "k").has("not supported for user-provided service instances")
	p.cf("unbind-service", "a", "base").has("OK")
	p.cf("unbind-service", "a", "base").has("Binding between base and a does not exist")
	p.cf("delete-service", "-f", "base").has("deleted")
	p.cfFails("bind-service", "a", "base").has("Service instance 'base' not found")
	p.cf("marketplace").has("No service offerings found")
	p.cfFails("create-service", "mysql", "small", "x")
}

// TestNoRoomWithTheRealClient: an instance that is nowhere says why.
func TestNoRoomWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "a")
	p.running.mu.Lock()
	p.running.room = 1
	p.running.mu.Unlock()
	a, _ := p.store.Local().AppByName("dev-space", "a")
	web, _ := p.store.Local().ProcessByType(a.GUID, "web")
	p.api.Unplaced = func(_ context.Context, process, version string) (string, error) {
		if process != web.GUID || version != web.Version {
			return "", errors.New("who is that?")
		}
		return "No DEA has enough room.", nil
	}
	p.cf("scale", "a", "-i", "2").has("instances: 1/2")
	p.cf("app", "a").has("0B/s of unlimited No DEA has enough room. -", "0B/s of unlimited true")
	p.cf("stop", "a")
	p.cf("app", "a").has("#1 down").lacks("No DEA")
}
