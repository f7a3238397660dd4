package nomad

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"

	"github.com/stackato/stackato/agent/supervise/supervisetest"
	"github.com/stackato/stackato/jobs"
)

// The jobs that controllers make, as they are, on a client with the
// configuration that node agents write.
func TestJobsOfControllers(t *testing.T) {
	if exec.CommandContext(t.Context(), "docker", "info").Run() != nil {
		t.Skip("no Docker Engine")
	}
	cl := newCluster(t)
	c := withClient(t, cl.config(t, "alpha", "127.0.0.1"))
	c.BootstrapExpect = 1
	public := fenceDir(t)
	c.Client.HostVolumes = map[string]HostVolume{jobs.Volume: {Path: public}}
	c.Client.Meta = map[string]string{
		"role_dea": "true", "placement_zone_default": "true", "stack_test": "true", "stackato_zone": "default", "resolver": "192.0.2.53",
	}
	c.Client.CPUTotal, c.Client.MemoryTotal = 4000, 4000
	n := start(t, c, cl.secret)
	supervisetest.Ready(t, n.child, 15*time.Second)
	if err := n.BootstrapACL(t.Context(), cl.secret); err != nil {
		t.Fatal(err)
	}
	supervisetest.Eventually(t, 15*time.Second, "Docker", func(ctx context.Context) error { return n.NodeReady(ctx, n.NodeID) })

	p := jobs.Process{
		App: uuid.NewString(), GUID: uuid.NewString(), Type: "web", Version: "1", Instances: 1,
		Size: jobs.Size{MemoryMB: 32, DiskMB: 32}, Image: scratchImage(t), Placement: jobs.Placement{Stack: "test"},
	}
	t.Run("app", func(t *testing.T) { checkApp(t, n, p) })
	t.Run("task", func(t *testing.T) {
		checkBatch(t, n, jobs.Task(jobs.AppTask{App: p.App, GUID: uuid.NewString(), Size: p.Size, Image: p.Image, Placement: p.Placement}))
	})
	t.Run("unmet zone", func(t *testing.T) {
		b := jobs.Build{App: p.App, GUID: uuid.NewString(), Size: p.Size, Image: p.Image, Placement: jobs.Placement{Zone: "gold"}}
		b.GUID = uuid.NewString()
		checkUnplaced(t, n, jobs.Staging(b))
	})
}

// fenceDir is the directory that becomes the host volume.
func fenceDir(t *testing.T) string {
	dir := supervisetest.Dir(t)
	for d, mode := range map[string]os.FileMode{".": 0o755, "bin": 0o755, "run": 0o700} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, d), mode), os.Chmod(filepath.Join(dir, d), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "run", "secret"), []byte("for root"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "stackato-launcher"), "./testdata/launcher")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// scratchImage makes an image with nothing in it but an empty directory.
func scratchImage(t *testing.T) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o777}), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	name := "stackato-test/scratch:" + uuid.NewString()[:8]
	cmd := exec.CommandContext(t.Context(), "docker", "import", "-", name)
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rmi", "-f", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return name
}

func register(t *testing.T, n *node, j *api.Job) {
	t.Helper()
	err := n.call(t.Context(), "register", func(a *api.Client) error {
		_, _, err := a.Jobs().Register(j, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// purge ends the job and waits until its containers are gone. It is deferred:
// the test's context is still alive then.
func purge(t *testing.T, n *node, id string) {
	t.Helper()
	err := n.call(t.Context(), "purge", func(a *api.Client) error {
		_, _, err := a.Jobs().Deregister(id, true, nil)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	_, guid, _, _ := jobs.Parse(id)
	supervisetest.Eventually(t, 40*time.Second, "no container of "+id, func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, "docker", "ps", "-aq", "--filter",
			"label="+jobs.LabelProcess+"="+guid).Output()
		if err == nil && len(out) > 0 {
			err = fmt.Errorf("containers %s", out)
		}
		return err
	})
}

// running waits until count allocations of the job run, and returns them.
func running(t *testing.T, n *node, id string, count int) (out []*api.Allocation) {
	t.Helper()
	supervisetest.Eventually(t, 30*time.Second, "allocations of "+id, func(ctx context.Context) error {
		out = nil
		return n.call(ctx, "list allocations", func(a *api.Client) error {
			stubs, _, err := a.Jobs().Allocations(id, false, nil)
			if err != nil {
				return err
			}
			for _, s := range stubs {
				if s.ClientStatus != api.AllocClientStatusRunning || s.DesiredStatus != api.AllocDesiredStatusRun {
					continue
				}
				alloc, _, err := a.Allocations().Info(s.ID, nil)
				if err != nil {
					return err
				}
				out = append(out, alloc)
			}
			if len(out) != count {
				return fmt.Errorf("%d run, want %d: %s", len(out), count, describe(stubs))
			}
			return nil
		})
	})
	return out
}

func describe(stubs []*api.AllocationListStub) string {
	var b strings.Builder
	for _, s := range stubs {
		fmt.Fprintf(&b, "%s %s", s.Name, s.ClientStatus)
		for _, st := range s.TaskStates {
			for _, e := range st.Events {
				fmt.Fprintf(&b, "; %s %s", e.Type, e.DisplayMessage)
			}
		}
	}
	return b.String()
}

// ask asks the instance, which is what listens on its port of the node.
func ask(ctx context.Context, a *api.Allocation, path string) (map[string]any, error) {
	var url string
	for _, p := range a.AllocatedResources.Shared.Ports {
		if p.Label == jobs.PortLabel {
			url = "http://" + net.JoinHostPort(p.HostIP, strconv.Itoa(p.Value)) + path
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var out map[string]any
	return out, json.NewDecoder(res.Body).Decode(&out)
}

func checkApp(t *testing.T, n *node, p jobs.Process) {
	id := jobs.AppID(p.GUID, p.Version)
	register(t, n, jobs.App(p))
	defer purge(t, n, id)
	first := running(t, n, id, 1)[0]
	var got map[string]any
	supervisetest.Eventually(t, 10*time.Second, "an answer", func(ctx context.Context) (err error) {
		got, err = ask(ctx, first, "/")
		return err
	})
	for key, want := range map[string]any{
		"pid": 1.0, "uid": 0.0, "write": true, "chown": true, "other": true, "secret": "for root",
		"CapEff": "00000000000001e1", "NoNewPrivs": "1", "setuid": nil, "setgroups": nil,
	} {
		if got[key] != want {
			t.Errorf("in the container %s is %v, want %v", key, got[key], want)
		}
	}
	checkLabels(t, first.ID, p)
	out, err := exec.CommandContext(t.Context(), "docker", "inspect", "-f", "{{.HostConfig.Dns}}", jobs.TaskName+"-"+first.ID).Output()
	if want := "[" + jobs.Resolver + " 192.0.2.53]"; err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("the container asks %s for names, %v; want %s", out, err, want)
	}

	t.Run("crash", func(t *testing.T) {
		_, _ = ask(t.Context(), first, "/exit")
		supervisetest.Eventually(t, 10*time.Second, "an answer", func(ctx context.Context) error {
			_, err := ask(ctx, first, "/")
			return err
		})
		if now := running(t, n, id, 1)[0]; now.ID != first.ID || now.TaskStates[jobs.TaskName].Restarts != 1 {
			t.Errorf("allocation %s with %d restarts, want %s restarted in place", now.ID, now.TaskStates[jobs.TaskName].Restarts, first.ID)
		}
	})
	t.Run("scale", func(t *testing.T) {
		for _, count := range []int{3, 2} {
			scaleAs(t, n, id, count)
			all := running(t, n, id, count)
			if !slices.ContainsFunc(all, func(a *api.Allocation) bool { return a.ID == first.ID }) {
				t.Errorf("scaled to %d: the first instance was replaced", count)
			}
		}
	})
}

// scaleAs changes the count as controllers do.
func scaleAs(t *testing.T, n *node, id string, count int) {
	t.Helper()
	err := n.call(t.Context(), "scale", func(a *api.Client) error {
		j, _, err := a.Jobs().Info(id, nil)
		if err != nil {
			return err
		}
		old := *j.JobModifyIndex
		jobs.Scale(j, count)
		if _, _, err = a.Jobs().EnforceRegister(j, old, nil); err != nil {
			return err
		}
		if _, _, err = a.Jobs().EnforceRegister(j, old, nil); err == nil {
			t.Error("registered with an old index")
		} else if !strings.Contains(err.Error(), api.RegisterEnforceIndexErrPrefix) {
			t.Errorf("with an old index: %v", err)
		}
		deployments, _, err := a.Jobs().Deployments(id, true, nil)
		if len(deployments) > 0 {
			t.Errorf("%d deployments", len(deployments))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkLabels(t *testing.T, alloc string, p jobs.Process) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "ps", "-q", "--filter", "label=com.hashicorp.nomad.alloc_id="+alloc).Output()
	if err != nil {
		t.Fatal(err)
	}
	out, err = exec.CommandContext(t.Context(), "docker", "inspect", strings.TrimSpace(string(out))).Output()
	if err != nil {
		t.Fatal(err)
	}
	var info []struct {
		Config     struct{ Labels map[string]string }
		HostConfig struct {
			Memory, PidsLimit int64
			Privileged        bool
			LogConfig         struct{ Type string }
		}
	}
	if err := json.Unmarshal(out, &info); err != nil || len(info) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	for k, want := range map[string]string{
		jobs.LabelKind: jobs.KindApp, jobs.LabelApp: p.App, jobs.LabelProcess: p.GUID,
		jobs.LabelType: "web", jobs.LabelVersion: "1",
	} {
		if info[0].Config.Labels[k] != want {
			t.Errorf("label %s is %q, want %q", k, info[0].Config.Labels[k], want)
		}
	}
	h := info[0].HostConfig
	if h.Memory != 32<<20 || h.PidsLimit != 1024 || h.Privileged || h.LogConfig.Type != "json-file" {
		t.Errorf("host configuration %+v", h)
	}
}

func checkBatch(t *testing.T, n *node, j *api.Job) {
	register(t, n, j)
	defer purge(t, n, *j.ID)
	supervisetest.Eventually(t, 30*time.Second, "the end of the task", func(ctx context.Context) error {
		return n.call(ctx, "list", func(a *api.Client) error {
			stubs, _, err := a.Jobs().Allocations(*j.ID, false, nil)
			if err != nil {
				return err
			}
			if len(stubs) != 1 || stubs[0].ClientStatus != api.AllocClientStatusFailed {
				return errors.New(describe(stubs))
			}
			st := stubs[0].TaskStates[jobs.TaskName]
			if !slices.ContainsFunc(st.Events, func(e *api.TaskEvent) bool { return e.Type == api.TaskTerminated && e.ExitCode == 7 }) {
				return errors.New(describe(stubs))
			}
			return nil
		})
	})
}

func checkUnplaced(t *testing.T, n *node, j *api.Job) {
	register(t, n, j)
	defer purge(t, n, *j.ID)
	supervisetest.Eventually(t, 10*time.Second, "a blocked evaluation", func(ctx context.Context) error {
		return n.call(ctx, "evaluations", func(a *api.Client) error {
			evals, _, err := a.Jobs().Evaluations(*j.ID, nil)
			for _, e := range evals {
				if m := e.FailedTGAllocs[jobs.Group]; m != nil && m.ConstraintFiltered["${meta.placement_zone_gold} = true"] == 1 {
					return nil
				}
			}
			return errors.Join(err, fmt.Errorf("evaluations %+v", evals))
		})
	})
}
