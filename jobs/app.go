package jobs

import (
	"time"

	"github.com/hashicorp/nomad/api"
)

// Process is one version of a process of an app.
type Process struct {
	App, GUID, Type string
	// Version tells two versions of a process apart: another droplet, command
	// or environment is another version, and another job.
	Version   string
	Instances int
	Size      Size
	Image     string // of the stack, by a tag that never moves
	Placement Placement
}

// App is the job that runs a version of a process.
func App(p Process) *api.Job {
	g := container{
		image: p.Image, entrypoint: launcher, size: p.Size, port: true,
		labels: map[string]string{
			LabelKind: KindApp, LabelApp: p.App, LabelProcess: p.GUID, LabelType: p.Type, LabelVersion: p.Version,
		},
	}.group(p.Instances)
	// Nomad restarts in place, at once and for ever; fence holds a crashed
	// instance back by Cloud Foundry's schedule.
	g.RestartPolicy = &api.RestartPolicy{
		Attempts: ptr(1_000_000), Interval: ptr(24 * time.Hour), Delay: ptr(time.Duration(0)), Mode: ptr("delay"),
	}
	// Reached only when a node cannot make the container at all.
	g.ReschedulePolicy = &api.ReschedulePolicy{
		Attempts: ptr(0), Interval: ptr(time.Duration(0)), Unlimited: ptr(true),
		DelayFunction: ptr("exponential"), Delay: ptr(5 * time.Second), MaxDelay: ptr(16 * time.Minute),
	}
	g.Spreads = spread()
	j := job(AppID(p.GUID, p.Version), "service", g, p.Placement)
	j.Update = &api.UpdateStrategy{MaxParallel: ptr(0)} // no deployments
	return j
}

// Count returns how many instances a job asks for.
func Count(j *api.Job) int {
	for _, g := range j.TaskGroups {
		if g.Name != nil && *g.Name == Group && g.Count != nil {
			return *g.Count
		}
	}
	return 0
}

// Scale changes the count of a job that Nomad has, and nothing else.
func Scale(j *api.Job, count int) {
	for _, g := range j.TaskGroups {
		if g.Name != nil && *g.Name == Group {
			g.Count = ptr(count)
		}
	}
}
