package deploy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// startNomad runs a real server, with a client if this machine can have one,
// and returns what speaks to it.
func startNomad(t *testing.T) (c *deploy.Client, client bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Nomad: not with -short")
	}
	program, err := filepath.Abs("../../bin/nomad")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Skip("no bin/nomad (make tools)")
	}
	client = os.Geteuid() == 0 && exec.CommandContext(t.Context(), "docker", "info").Run() == nil
	dir, err := os.MkdirTemp("", "deploy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address, ports := freePorts(t, 3)
	config := map[string]any{
		"data_dir": filepath.Join(dir, "data"), "bind_addr": address, "disable_update_check": true,
		"advertise": map[string]any{"http": address, "rpc": address, "serf": address},
		"ports":     map[string]any{"http": ports[0], "rpc": ports[1], "serf": ports[2]},
		"server":    map[string]any{"enabled": true, "bootstrap_expect": 1, "raft_multiplier": 1},
		"client": map[string]any{
			"enabled": client, "network_interface": "lo", "no_host_uuid": true, "memory_total_mb": 1000, "cpu_total_compute": 4000,
			"meta":         map[string]any{"role_dea": "true", "placement_zone_default": "true", "resolver": "192.0.2.53"},
			"options":      map[string]any{"driver.allowlist": "docker", "fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean,consul,vault"},
			"host_network": map[string]any{"cluster": map[string]any{"cidr": "127.0.0.1/32"}},
			"host_volume":  map[string]any{jobs.Volume: map[string]any{"path": programs(t, dir)}},
		},
		"plugin": map[string]any{"docker": map[string]any{"config": map[string]any{
			"disable_log_collection": true, // one key alone would be taken for a label
			"gc":                     map[string]any{"image": false, "dangling_containers": map[string]any{"enabled": false}},
		}}},
		"consul": []any{map[string]any{"auto_advertise": false, "server_auto_join": false, "client_auto_join": false}},
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	runNomad(t, dir, program, file)
	c, err = deploy.NewClient(fmt.Sprintf("%s:%d", address, ports[0]), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, client
}

func runNomad(t *testing.T, dir, program, file string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "agent", "-config="+file)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		end := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		end.Stop()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("nomad:\n%s", text[max(0, len(text)-8000):])
		}
	})
}

// freePorts returns ports of an address of its own: on 127.0.0.1 somebody's
// connection could take one before Nomad does.
func freePorts(t *testing.T, n int) (address string, ports []int) {
	t.Helper()
	address = fmt.Sprintf("127.%d.%d.%d", 1+rand.N(250), rand.N(250), 1+rand.N(250))
	for range n {
		l, err := net.Listen("tcp", address+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return address, ports
}

// programs builds what containers run.
func programs(t *testing.T, dir string) string {
	t.Helper()
	public := filepath.Join(dir, "public")
	for _, name := range []string{"stackato-launcher", "stackato-stager"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(public, "bin", name), "./testdata/container")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return public
}

// scratch makes an image with nothing in it.
func scratch(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o777}), w.Close()); err != nil {
		t.Fatal(err)
	}
	name := "stackato-test/deploy:" + uuid.NewString()[:8]
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

// within repeats f until it succeeds.
func within(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // Nomad takes 15 s for some things alone
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestClientAgainstNomad(t *testing.T) {
	c, client := startNomad(t)
	within(t, "a leader", func(ctx context.Context) error {
		err := c.Collect(ctx)
		return err
	})
	t.Run("a Nomad without jobs", func(t *testing.T) { checkFirstJobs(t, c) })
	t.Run("jobs", func(t *testing.T) { checkJobs(t, c) })
	t.Run("no place", func(t *testing.T) { checkUnplaced(t, c, client) })
	if !client {
		t.Skip("containers need root and a Docker Engine")
	}
	t.Run("images", func(t *testing.T) { checkImages(t, c) })
	t.Run("ends", func(t *testing.T) { checkEnds(t, c) })
	t.Run("rolling", func(t *testing.T) { checkRolling(t, c) })
}

// checkFirstJobs wants something to wait for from a Nomad that has never had a
// job: a query after index 0 is answered at once, and would be sent again and
// again.
func checkFirstJobs(t *testing.T, c *deploy.Client) {
	list, index, err := c.Jobs(t.Context(), "staging-", 0)
	if err != nil || len(list) != 0 {
		t.Fatalf("%v, %v", list, err)
	}
	if index == 0 {
		t.Error("there is no index to wait for")
	}
}

// observer tells a table of instances what Nomad says of the app's jobs.
type observer struct {
	instances.Nodes // what is not asked here

	client *deploy.Client
	world  *world
	node   string // that Nomad places on
}

// liar is a node that reports whatever the other one does.
const liar = "liar"

func (o observer) DEAs() ([]string, <-chan struct{}) { return []string{liar, o.node}, nil }

// owner says whose a version is, as controllers do.
func (o observer) owner(process, version string) (app, kind string, ok bool) {
	pv, ok := o.world.store.Local().ProcessVersion(process, version)
	return pv.AppGUID, pv.Type, ok
}

// nodeOf returns the ID of the only node.
func nodeOf(t *testing.T, c *deploy.Client) (node string) {
	t.Helper()
	task := jobs.Task(jobs.AppTask{App: uuid.NewString(), GUID: uuid.NewString(), Size: jobs.Size{MemoryMB: 16}, Image: "stackato-test/absent:1"})
	if _, err := c.Register(t.Context(), task, 0); err != nil {
		t.Fatal(err)
	}
	within(t, "a place", func(ctx context.Context) error {
		all, err := c.Allocations(ctx, *task.ID)
		if err != nil || len(all) == 0 {
			return errors.Join(err, errors.New("no allocation"))
		}
		node = all[0].Node
		got, err := c.Placed(ctx, []string{all[0].ID, uuid.NewString(), "no id"})
		if want := (instance.Placement{Node: node, Job: *task.ID}); err != nil || len(got) != 1 || got[all[0].ID] != want {
			t.Errorf("placed %+v, %v; want %+v alone", got, err, want)
		}
		many := []string{all[0].ID}
		for range 300 {
			many = append(many, uuid.NewString())
		}
		if got, err := c.Placed(ctx, many); err != nil || len(got) != 1 || got[all[0].ID].Node != node {
			t.Errorf("of many: %+v, %v", got, err)
		}
		return nil
	})
	if err := c.Remove(t.Context(), *task.ID); err != nil {
		t.Error(err)
	}
	return node
}

func (o observer) States(ctx context.Context, _ string, report func(instance.Report)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out := instance.Report{Snapshot: true}
		for _, pv := range o.world.store.Local().ProcessVersionsOf(o.world.web) {
			all, err := o.client.Allocations(ctx, jobs.AppID(pv.ProcessGUID, pv.Version))
			if err != nil {
				return err
			}
			for _, a := range all {
				if a.State == deploy.AllocRunning && !a.Stopping {
					out.Instances = append(out.Instances, instance.Status{
						AllocID: a.ID, AppGUID: pv.AppGUID, ProcessGUID: pv.ProcessGUID, ProcessType: pv.Type, Version: pv.Version, Index: a.Index,
						State: instance.Running, Ready: true,
					})
				}
			}
		}
		report(out)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// containers counts the app's containers that run.
func (o observer) containers(t *testing.T) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "ps", "-q", "--filter", "label="+jobs.LabelProcess+"="+o.world.web).Output()
	if err != nil {
		t.Fatal(err)
	}
	return len(strings.Fields(string(out)))
}

// A rolling deployment with real containers, of which never fewer run than were
// asked for.
func checkRolling(t *testing.T, c *deploy.Client) {
	const asked = 2
	w := newWorld(t.Context(), t)
	w.now = time.Now()
	o := observer{client: c, world: w, node: nodeOf(t, c)}
	table := instances.New(instances.Config{Nodes: o, Placements: c, Owner: o.owner, Logger: slog.New(slog.DiscardHandler)})
	image := scratch(t)
	cfg := w.config()
	cfg.Nomad, cfg.Instances, cfg.Now, cfg.Image = c, table, nil, func(string) string { return image }
	d := deploy.New(cfg)
	background(t, table.Run)
	background(t, func(ctx context.Context) error { return d.Run(ctx, 1) })

	w.push(asked)
	w.start(false)
	within(t, "all containers", func(context.Context) error { return differ(o.containers(t), asked) })
	roll := w.roll(cf.StrategyRolling, 1)
	least := asked
	within(t, "the new version", func(context.Context) error {
		least = min(least, o.containers(t))
		if got := w.deployment(roll.GUID); got.Reason != cf.ReasonDeployed {
			return fmt.Errorf("deployment is %s: %s", got.Reason, got.Error)
		}
		return nil
	})
	if least < asked {
		t.Errorf("only %d containers ran for a while, want %d", least, asked)
	}
	for _, s := range table.All() {
		if s.Node != o.node {
			t.Errorf("an instance counts that Nomad has not placed on its node: %+v", s)
		}
	}
	within(t, "no more than asked for", func(context.Context) error { return differ(o.containers(t), asked) })
	w.must(w.store.DeleteApp(t.Context(), state.Target{GUID: w.app, At: time.Now()}))
	within(t, "nothing left", func(context.Context) error { return differ(o.containers(t), 0) })
}

func differ(got, want int) error {
	if got != want {
		return fmt.Errorf("%d containers, want %d", got, want)
	}
	return nil
}

func checkJobs(t *testing.T, c *deploy.Client) {
	ctx := t.Context()
	p := jobs.Process{App: uuid.NewString(), GUID: uuid.NewString(), Type: "web", Version: "1", Instances: 2, Size: jobs.Size{MemoryMB: 16}, Image: "none:1"}
	p.Placement.Zone = "nowhere"
	id := jobs.AppID(p.GUID, p.Version)
	index, err := c.Register(ctx, jobs.App(p), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Register(ctx, jobs.App(p), 0); !errors.Is(err, deploy.ErrChanged) {
		t.Errorf("registered a second time: %v", err)
	}
	next, err := c.Scale(ctx, id, 5, index)
	if err != nil || next <= index {
		t.Fatalf("scaled to index %d: %v", next, err)
	}
	if _, err := c.Scale(ctx, id, 1, index); !errors.Is(err, deploy.ErrChanged) {
		t.Errorf("scaled with an old index: %v", err)
	}
	for range 2 { // the second answer uses what the first has learned
		list, at, err := c.Jobs(ctx, "app-", 0)
		if err != nil || len(list) != 1 || list[0].ID != id || list[0].Count != 5 || list[0].Index != next || list[0].Stopped || at < next {
			t.Errorf("list %+v as of %d, %v", list, at, err)
		}
	}
	_, at, err := c.Jobs(ctx, "app-", 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for {
			list, after, err := c.Jobs(ctx, "app-", at)
			if err != nil || len(list) == 0 {
				done <- err
				return
			}
			at = after
		}
	}()
	for range 2 {
		if err := c.Remove(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Allocation(ctx, uuid.NewString()); !errors.Is(err, deploy.ErrNoAllocation) {
		t.Errorf("unknown allocation: %v", err)
	}
	if _, err := c.Allocation(ctx, "x"); !errors.Is(err, deploy.ErrNoAllocation) {
		t.Errorf("what is no allocation: %v", err)
	}
}

func checkUnplaced(t *testing.T, c *deploy.Client, client bool) {
	b := jobs.Build{App: uuid.NewString(), GUID: uuid.NewString(), Size: jobs.Size{MemoryMB: 16}, Image: "none:1"}
	want := "No DEA is there"
	if client {
		// Not before there is a node: else it is the reason.
		within(t, "a node", func(ctx context.Context) error {
			probe := jobs.Build{GUID: uuid.NewString(), Size: jobs.Size{MemoryMB: 16}, Image: "none:1"}
			if _, err := c.Register(ctx, jobs.Staging(probe), 0); err != nil {
				return err
			}
			defer func() { _ = c.Remove(ctx, jobs.StagingID(probe.GUID)) }()
			for range 20 {
				if all, err := c.Allocations(ctx, jobs.StagingID(probe.GUID)); err != nil || len(all) > 0 {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
			return errors.New("not placed")
		})
		b.Placement.Zone, want = "gold", `No DEA is in the placement zone "gold". Zones that exist: default.`
	}
	ask := func(b jobs.Build, want string) {
		t.Helper()
		id := jobs.StagingID(b.GUID)
		if _, err := c.Register(t.Context(), jobs.Staging(b), 0); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Remove(t.Context(), id) }()
		within(t, "the reason", func(ctx context.Context) error {
			u, err := c.Unplaced(ctx, id)
			if err != nil || u == nil {
				return errors.Join(err, errors.New("none yet"))
			}
			if got := u.Explain([]string{"default"}, nil); !strings.HasPrefix(got, want) {
				return fmt.Errorf("%+v: %q, want %q", u, got, want)
			}
			return nil
		})
	}
	ask(b, want)
	if client {
		b.GUID, b.Placement.Zone, b.Size.MemoryMB = uuid.NewString(), "", 100_000
		ask(b, "No DEA has enough room: memory is used up on 1 node.")
	}
}

// Work lands on a node only while the node announces the image of the work.
func checkImages(t *testing.T, c *deploy.Client) {
	node, image := nodeOf(t, c), scratch(t)
	var have atomic.Pointer[map[string][]string]
	have.Store(&map[string][]string{node: {"other:1"}})
	background(t, func(ctx context.Context) error {
		deploy.AnnounceStacks(ctx, c, func() map[string][]string { return *have.Load() }, slog.New(slog.DiscardHandler))
		return nil
	})
	size := jobs.Size{MemoryMB: 16, DiskMB: 16}
	run := func() (id string) {
		task := jobs.AppTask{App: uuid.NewString(), GUID: uuid.NewString(), Size: size, Image: image}
		task.Placement.Stack = image
		if _, err := c.Register(t.Context(), jobs.Task(task), 0); err != nil {
			t.Fatal(err)
		}
		id = jobs.TaskID(task.GUID)
		t.Cleanup(func() { _ = c.Remove(context.WithoutCancel(t.Context()), id) })
		return id
	}
	placed := func(id string) bool {
		all, err := c.Allocations(t.Context(), id)
		return err == nil && len(all) > 0
	}
	refused := func(id string) {
		t.Helper()
		within(t, "the reason", func(ctx context.Context) error {
			u, err := c.Unplaced(ctx, id)
			if err != nil || u == nil {
				return errors.Join(err, errors.New("none yet"))
			}
			want := "No DEA that may take it has the image " + image + ", which the stack is, verified. n1 has other:1."
			if got := u.Explain(nil, map[string][]string{"n1": {"other:1"}}); !strings.HasPrefix(got, want) {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
	}
	first := run()
	refused(first)
	size.MemoryMB = 100_000
	large := run()
	refused(large)
	size.MemoryMB = 16
	have.Store(&map[string][]string{node: {"other:1", image}})
	began := time.Now()
	within(t, "a place when the image is there", func(context.Context) error {
		if !placed(first) {
			return errors.New("none")
		}
		return nil
	})
	t.Logf("placed %v after the image was announced", time.Since(began))
	within(t, "the reason that is left", func(ctx context.Context) error {
		u, err := c.Unplaced(ctx, large)
		if err != nil || u == nil || !u.Full() || u.Dimensions["memory"] == 0 {
			return errors.Join(err, fmt.Errorf("%+v", u))
		}
		return nil
	})
	have.Store(&map[string][]string{node: {"other:1"}})
	within(t, "no place when the image is gone", func(ctx context.Context) error {
		id := run()
		defer func() { _ = c.Remove(ctx, id) }()
		for range 20 {
			if placed(id) {
				return errors.New("placed")
			}
			if u, err := c.Unplaced(ctx, id); err == nil && u != nil && u.Image == image {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return errors.New("neither placed nor refused")
	})
	have.Store(&map[string][]string{}) // not heard of: it stays as it is
}

func checkEnds(t *testing.T, c *deploy.Client) {
	image := scratch(t)
	size := jobs.Size{MemoryMB: 16, DiskMB: 16}
	task := jobs.AppTask{App: uuid.NewString(), GUID: uuid.NewString(), Size: size, Image: image}
	build := jobs.Build{App: uuid.NewString(), GUID: uuid.NewString(), Size: size, Image: image}
	broken := task
	broken.GUID, broken.Image = uuid.NewString(), "stackato-test/absent:1"
	end := func(id string) (a deploy.Alloc) {
		t.Helper()
		within(t, "the end of "+id, func(ctx context.Context) error {
			all, err := c.Allocations(ctx, id)
			if err != nil || len(all) != 1 || !all[0].Ended() {
				return errors.Join(err, fmt.Errorf("allocations %+v", all))
			}
			a = all[0]
			// The node may still have been adding to what it says.
			one, err := c.Allocation(ctx, a.ID)
			if err != nil || one != a {
				return fmt.Errorf("by itself %+v, %w; in the list %+v", one, err, a)
			}
			list, _, err := c.Jobs(ctx, id[:strings.Index(id, "-")+1], 0)
			if i := slices.IndexFunc(list, func(j deploy.Job) bool { return j.ID == id }); err != nil || i < 0 || list[i].Ended != 1 {
				return fmt.Errorf("list %+v, %w; want %s ended", list, err, id)
			}
			return nil
		})
		if err := c.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
		return a
	}
	for _, j := range []jobs.AppTask{task, broken} {
		if _, err := c.Register(t.Context(), jobs.Task(j), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Register(t.Context(), jobs.Staging(build), 0); err != nil {
		t.Fatal(err)
	}
	if a := end(jobs.TaskID(task.GUID)); a.State != deploy.AllocFailed || a.ExitCode != 3 || a.OutOfMemory() || a.Node == "" {
		t.Errorf("task that exits with 3: %+v", a)
	}
	if a := end(jobs.TaskID(broken.GUID)); a.State != deploy.AllocFailed || a.Reason == "" {
		t.Errorf("task without an image: %+v", a)
	}
	if a := end(jobs.StagingID(build.GUID)); a.State != deploy.AllocFailed || !a.OutOfMemory() {
		t.Errorf("build that uses too much memory: %+v", a)
	}
	within(t, "nothing is left in Nomad", func(ctx context.Context) error {
		if err := c.Collect(ctx); err != nil {
			return err
		}
		for _, id := range []string{jobs.TaskID(task.GUID), jobs.StagingID(build.GUID)} {
			if all, err := c.Allocations(ctx, id); err != nil || len(all) > 0 {
				return errors.Join(err, fmt.Errorf("allocations %+v", all))
			}
		}
		return nil
	})
}
