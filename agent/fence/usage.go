package fence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/stackato/stackato/wire/instance"
)

// sample is what the engine counts of a container.
type sample struct {
	cpu    time.Duration // since its start
	memory int64         // bytes, without the cache that can be dropped
}

// sample measures CPU time and memory, at once.
func (e *Engine) sample(ctx context.Context, id string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	r, err := e.client.ContainerStatsOneShot(ctx, id)
	if err != nil {
		return sample{}, e.containerError("stats", err)
	}
	defer r.Body.Close()
	var s container.StatsResponse
	err = json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&s)
	if errors.Is(err, io.EOF) {
		return sample{}, errGone // it ended in between
	}
	if err != nil {
		return sample{}, err
	}
	m := s.MemoryStats
	// cgroup v1 and v2 name it differently.
	idle := cmp.Or(m.Stats["total_inactive_file"], m.Stats["inactive_file"])
	used := int64(m.Usage)
	if idle < m.Usage {
		used = int64(m.Usage - idle)
	}
	return sample{cpu: time.Duration(s.CPUStats.CPUUsage.TotalUsage), memory: used}, nil
}

// layer says in which directory a container's own layer lies, "" if the storage
// driver has none of it, and which process is its first, 0 if it does not run.
func (e *Engine) layer(ctx context.Context, id string) (dir string, pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	r, err := e.client.ContainerInspect(ctx, id)
	if err != nil {
		return "", 0, e.containerError("inspect", err)
	}
	if r.ContainerJSONBase == nil || r.State == nil {
		return "", 0, nil
	}
	return r.GraphDriver.Data["UpperDir"], r.State.Pid, nil
}

// written asks the engine how many bytes a container's own layer holds. It
// takes time: the engine walks through all files. It leaves out what has no
// name or lies behind a file's end, and says -1 where folders are too deep.
func (e *Engine) written(ctx context.Context, id string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	r, _, err := e.client.ContainerInspectWithRaw(ctx, id, true)
	if err != nil {
		return 0, e.containerError("inspect", err)
	}
	if r.ContainerJSONBase == nil || r.SizeRw == nil {
		return 0, nil
	}
	return *r.SizeRw, nil
}

// measureWithin bounds measuring one container's disk.
const measureWithin = 30 * time.Second

// held measures what a container holds. With storage drivers other than those
// that overlay folders it is what the engine says, without the files.
func (f *Fence) held(ctx context.Context, c Container, all processes) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	dir, pid, err := f.cfg.Engine.layer(ctx, c.ID)
	if err != nil {
		return held{}, err
	}
	_, files := f.limits(c)
	h, err := walkLayer(ctx, dir, files)
	if dir == "" || errors.Is(err, fs.ErrNotExist) { // not here, or the container is gone
		bytes, err := f.cfg.Engine.written(ctx, c.ID)
		return held{bytes: bytes}, err
	}
	if err != nil || h.beyond != "" || pid == 0 {
		return h, err
	}
	n, err := all.nameless(ctx, pid)
	return h.and(n, c.Kind), err
}

// spoolBytes of a build's files without a name do not count: the stager holds
// package, buildpacks, caches and droplet so, out of the way of what it runs.
const spoolBytes = 4 << 30

// and adds what a container holds without a name.
func (h held) and(nameless held, kind string) held {
	if kind == instance.KindStaging {
		nameless.bytes = max(0, nameless.bytes-spoolBytes)
	}
	return held{h.bytes + nameless.bytes, h.files + nameless.files, cmp.Or(h.beyond, nameless.beyond)}
}

// meter remembers one container's last measurements.
type meter struct {
	cpu      time.Duration
	at       time.Time
	disk     int64
	diskNext time.Time
}

// measure measures every running container again and again, and stops those
// that hold more disk than they may.
func (f *Fence) measure(ctx context.Context) error {
	meters := map[string]*meter{}
	watch, last := newSpaceWatch(), time.Now()
	for sleep(ctx, min(f.cfg.Timing.Space, f.cfg.Timing.Measure)) == nil {
		f.rush(ctx, watch)
		if time.Since(last) < f.cfg.Timing.Measure {
			continue
		}
		last = time.Now()
		before := meters
		meters = map[string]*meter{}
		all := f.processes()
		for _, c := range append(f.table.alive(), f.staging()...) {
			m := before[c.ID]
			if m == nil {
				m = &meter{}
			}
			meters[c.ID] = m
			err := f.measureOne(ctx, c, m, all)
			if err != nil && !errors.Is(err, errGone) && !errors.Is(err, ErrUnreachable) && ctx.Err() == nil {
				f.cfg.Logger.Warn("measuring a container", "container", c.ID, "error", err)
			}
		}
	}
	return ctx.Err()
}

func (f *Fence) measureOne(ctx context.Context, c Container, m *meter, all processes) error {
	s, err := f.cfg.Engine.sample(ctx, c.ID)
	if err != nil {
		return err
	}
	now := time.Now()
	u := instance.Usage{MemBytes: s.memory, At: f.cfg.Now()}
	if passed := now.Sub(m.at); !m.at.IsZero() && passed > 0 && s.cpu >= m.cpu {
		u.CPU = float64(s.cpu-m.cpu) / float64(passed)
	}
	m.cpu, m.at = s.cpu, now
	if !now.Before(m.diskNext) {
		h, err := f.held(ctx, c, all)
		m.diskNext = now.Add(time.Since(now) * time.Duration(f.cfg.DiskShare))
		if err != nil {
			return err
		}
		m.disk = h.bytes
		f.holdToDisk(ctx, c, h)
	}
	u.DiskByte = m.disk
	f.table.measured(c.ID, u)
	return nil
}

// processes lists those of the node. Without them files that have no name are
// not counted.
func (f *Fence) processes() processes {
	all, err := listProcesses()
	if err != nil {
		f.cfg.Logger.Warn("files without a name are not measured", "error", err)
	}
	return all
}

// holdToDisk ends a container that holds more than it may, and reports whether
// it does. Measuring is what works on every host; the limit can be exceeded for
// as long as one round takes. The container is stopped in its tracks: what it
// may still do between SIGTERM and SIGKILL it would do to the node's disk.
func (f *Fence) holdToDisk(ctx context.Context, c Container, h held) bool {
	disk, files := f.limits(c)
	reason := h.over(disk, files)
	if reason == "" {
		return false
	}
	if c.Kind == instance.KindStaging {
		if err := f.cfg.Engine.pause(ctx, c.ID); err != nil && !errors.Is(err, errGone) && ctx.Err() == nil {
			f.cfg.Logger.Warn("pausing a build that fills the disk", "container", c.ID, "error", err)
		}
		f.failBuild(c, reason)
		return true
	}
	if ctx.Err() != nil || !f.table.fail(c.ID, reason) {
		return true
	}
	f.cell(c, "Instance %s %s", c.AllocID, reason)
	f.spawn(2*callWithin, func(ctx context.Context) { f.killContainer(ctx, c) })
	return true
}

// over says in words which limit is exceeded, "" for none.
func (h held) over(disk, files int64) string {
	switch {
	case disk <= 0:
		return ""
	case h.bytes > disk:
		return "disk limit exceeded: " + sizes(h.bytes, disk)
	case h.beyond != "":
		return "file limit exceeded: " + h.beyond
	case h.files > files:
		return fmt.Sprintf("file limit exceeded: more than %d files", files)
	}
	return ""
}

// limits returns how many bytes a container may hold, 0 for any number, and how
// many files.
func (f *Fence) limits(c Container) (disk, files int64) {
	if c.Kind == instance.KindStaging {
		f.mu.Lock()
		defer f.mu.Unlock()
		disk = int64(f.builds[c.ID].spec.DiskMB) << 20
	} else if spec := f.specs.cached(keyOf(c)); spec != nil {
		disk = int64(spec.DiskMB) << 20
	}
	if disk <= 0 {
		return 0, math.MaxInt64
	}
	return disk, max(f.cfg.MinFiles, disk/bytesPerFile)
}

// staging returns the containers of builds that have begun.
func (f *Fence) staging() []Container {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Container
	for _, b := range f.builds {
		out = append(out, b.container)
	}
	return out
}
