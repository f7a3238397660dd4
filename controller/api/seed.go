package api

import (
	"context"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// builtInBuildpacks are those of the stager, in the order of detection.
var builtInBuildpacks = []string{"staticfile", "nodejs", "python", "go", "binary"}

// Seed makes what a new cluster begins with: the shared domain, the default
// quota, the stack and the built-in buildpacks. It does nothing on a cluster
// that has had them. The Primary calls it once it is Primary.
func (a *API) Seed(ctx context.Context) error {
	now := a.Now()
	fresh := func() cf.Resource { return cf.Resource{GUID: a.NewGUID(), CreatedAt: now, UpdatedAt: now} }
	seed := state.Seed{
		Domain: cf.Domain{Resource: fresh(), Name: a.Domain},
		Quota:  cf.Quota{Resource: fresh(), Name: cf.DefaultQuota, Limits: cf.Limits{PaidServices: true}},
		Stack:  cf.Stack{Resource: fresh(), Name: a.Stack, Description: "Debian with the runtimes of the built-in buildpacks", Default: true},
	}
	for i, name := range builtInBuildpacks {
		seed.Buildpacks = append(seed.Buildpacks, cf.Buildpack{
			Resource: fresh(), Name: name + "_buildpack", Position: i + 1, Enabled: true, BuiltIn: true,
		})
	}
	return a.State.PlantSeed(ctx, seed)
}
