package jobs

import (
	"cmp"
	"time"

	"github.com/hashicorp/nomad/api"
)

// AppTask is a one-off command with an app's droplet.
type AppTask struct {
	App, GUID string
	Name      string // the source of its lines in the app's log
	Size      Size
	Image     string
	Placement Placement
}

// Task is the job of a task: it runs once, and its end is final.
func Task(t AppTask) *api.Job {
	return batch(TaskID(t.GUID), container{
		image: t.Image, entrypoint: launcher, size: t.Size,
		labels: map[string]string{
			LabelKind: KindTask, LabelApp: t.App, LabelProcess: t.GUID, LabelType: cmp.Or(t.Name, "task"), LabelVersion: "",
		},
	}, t.Placement)
}

// Build makes a droplet of a package.
type Build struct {
	App, GUID string
	Size      Size
	Image     string
	Placement Placement
}

// Staging is the job of a build. It runs once: a build's token is good for one
// run.
func Staging(b Build) *api.Job {
	return batch(StagingID(b.GUID), container{
		image: b.Image, entrypoint: stager, size: b.Size,
		labels: map[string]string{
			LabelKind: KindStaging, LabelApp: b.App, LabelProcess: b.GUID, LabelType: "staging", LabelVersion: "",
		},
	}, b.Placement)
}

func batch(id string, c container, p Placement) *api.Job {
	g := c.group(1)
	g.RestartPolicy = &api.RestartPolicy{
		Attempts: ptr(0), Interval: ptr(24 * time.Hour), Delay: ptr(time.Duration(0)), Mode: ptr("fail"),
	}
	g.ReschedulePolicy = &api.ReschedulePolicy{
		Attempts: ptr(0), Interval: ptr(time.Duration(0)), Unlimited: ptr(false),
	}
	return job(id, "batch", g, p)
}
