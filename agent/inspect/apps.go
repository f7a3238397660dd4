package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/stackato/stackato/agent/local"
)

// MaxApps bounds the processes that the apps check lists, MaxReasons the
// sentences about each.
const (
	MaxApps    = 20
	MaxReasons = 3
)

// Apps is how what runs of apps differs from what was asked for, as the Primary
// saw it in the last seconds.
type Apps struct {
	Started   int   `json:"started"`   // apps that shall run
	Different []App `json:"different"` // at most MaxApps
	More      int   `json:"more"`      // that are not in it
}

// App is a process with which something is not as asked. One in a deployment
// is none: it is on its way.
type App struct {
	Organization string   `json:"organization"` // names, "" for what is deleted
	Space        string   `json:"space"`
	Name         string   `json:"name"` // the GUID for what is deleted
	Process      string   `json:"process"`
	Asked        int      `json:"asked"`
	Running      int      `json:"running"`
	Reasons      []string `json:"reasons"` // at most MaxReasons
}

// String is how people find it: organization/space/name.
func (a App) String() string {
	if a.Organization == "" {
		return a.Name + ", which is deleted"
	}
	name := strings.Join([]string{a.Organization, a.Space, a.Name}, "/")
	if a.Process != "web" {
		name += " (" + a.Process + ")"
	}
	return name
}

func (env Env) apps(ctx context.Context) []local.Finding {
	if env.Configured && !env.Platform {
		return ok("this cluster runs no apps")
	}
	if !env.Configured || env.Apps == nil {
		return env.nothing()
	}
	a, err := env.Apps(ctx)
	if err != nil {
		return warned("wait 15 s after a change of Primary and look again; if it stays so: kato inspect quorum", "no Primary tells how apps fare: %v", err)
	}
	if len(a.Different)+a.More == 0 {
		return ok("%d apps are started, and all that runs is as asked", a.Started)
	}
	var out []local.Finding
	for _, d := range a.Different {
		remedy := "wait a minute; if it stays: nomad job status, on a controller"
		if d.Organization != "" {
			remedy = fmt.Sprintf("cf target -o %s -s %s, then cf app %s and cf logs %s --recent", d.Organization, d.Space, d.Name, d.Name)
		}
		out = append(out, warned(remedy, "%s: %d of %d run. %s", d, d.Running, d.Asked, strings.Join(d.Reasons, " "))...)
	}
	if a.More > 0 {
		out = append(out, warned("kato status -a: with so many look at the DEAs first", "%d more are not as asked", a.More)...)
	}
	return out
}
