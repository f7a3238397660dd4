package main

import (
	"context"

	"github.com/stackato/stackato/agent/inspect"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/health"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Differences implements agent.CloudController: what the Health Manager found
// when it last compared, with names.
func (c *cloud) Differences(ctx context.Context) (inspect.Apps, error) {
	all, compared := c.health.Differences()
	if !compared {
		return inspect.Apps{}, rpcerr.New(rpcerr.Unavailable, "%s is not the Primary, or has not heard of every DEA yet", c.env.Self.Name)
	}
	v, err := c.store.Read(ctx)
	if err != nil {
		return inspect.Apps{}, err
	}
	return describeDifferences(v, all), nil
}

func describeDifferences(v *state.View, all []health.Difference) inspect.Apps {
	out := inspect.Apps{Started: len(v.AppsInState(cf.AppStarted)), Different: []inspect.App{}}
	for _, d := range all[:min(len(all), inspect.MaxApps)] {
		a := inspect.App{Name: d.App, Process: d.Type, Asked: d.Asked, Running: d.Running, Reasons: d.Reasons(inspect.MaxReasons)}
		if app, ok := v.App(d.App); ok {
			space, _ := v.Space(app.SpaceGUID)
			org, _ := v.Organization(space.OrgGUID)
			a.Organization, a.Space, a.Name = org.Name, space.Name, app.Name
		}
		out.Different = append(out.Different, a)
	}
	out.More = len(all) - len(out.Different)
	return out
}
