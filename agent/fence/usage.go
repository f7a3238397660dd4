package fence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
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

// written measures how many bytes a container's own layer holds. It takes
// time: the engine walks through all files.
func (e *Engine) written(ctx context.Context, id string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 6*callWithin)
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

// meter remembers one container's last measurements.
type meter struct {
	cpu      time.Duration
	at       time.Time
	disk     int64
	diskNext time.Time
}

// diskShare bounds what measuring disks may cost: after one that took a
// second the next waits this many.
const diskShare = 50

// measure measures every running container again and again, and stops those
// that hold more disk than they may.
func (f *Fence) measure(ctx context.Context) error {
	meters := map[string]*meter{}
	var (
		watch spaceWatch
		last  = time.Now()
	)
	for sleep(ctx, min(f.cfg.Timing.Space, f.cfg.Timing.Measure)) == nil {
		f.rush(ctx, &watch)
		if time.Since(last) < f.cfg.Timing.Measure {
			continue
		}
		last = time.Now()
		before := meters
		meters = map[string]*meter{}
		for _, c := range append(f.table.alive(), f.staging()...) {
			m := before[c.ID]
			if m == nil {
				m = &meter{}
			}
			meters[c.ID] = m
			err := f.measureOne(ctx, c, m)
			if err != nil && !errors.Is(err, errGone) && !errors.Is(err, ErrUnreachable) && ctx.Err() == nil {
				f.cfg.Logger.Warn("measuring a container", "container", c.ID, "error", err)
			}
		}
	}
	return ctx.Err()
}

func (f *Fence) measureOne(ctx context.Context, c Container, m *meter) error {
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
		if m.disk, err = f.cfg.Engine.written(ctx, c.ID); err != nil {
			return err
		}
		m.diskNext = now.Add(time.Since(now) * diskShare)
		f.holdToDisk(ctx, c, m.disk)
	}
	u.DiskByte = m.disk
	f.table.measured(c.ID, u)
	return nil
}

// holdToDisk ends a container that holds more than it may, and reports whether
// it does. Measuring is what works on every host; the limit can be exceeded for
// as long as one round takes. The container is stopped in its tracks: what it
// may still do between SIGTERM and SIGKILL it would do to the node's disk.
func (f *Fence) holdToDisk(ctx context.Context, c Container, used int64) bool {
	limit := f.diskLimit(c)
	if limit <= 0 || used <= limit {
		return false
	}
	reason := "disk limit exceeded: " + sizes(used, limit)
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

// diskLimit returns how many bytes a container may hold, 0 for any number.
func (f *Fence) diskLimit(c Container) int64 {
	if c.Kind == instance.KindStaging {
		f.mu.Lock()
		defer f.mu.Unlock()
		return int64(f.builds[c.ID].spec.DiskMB) << 20
	}
	if spec := f.specs.cached(keyOf(c)); spec != nil {
		return int64(spec.DiskMB) << 20
	}
	return 0
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
