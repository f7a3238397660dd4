package deploy_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
)

// BenchmarkPass is one pass that finds nothing to do, over 10,000 started apps.
func BenchmarkPass(b *testing.B) {
	w := newWorld(b.Context(), b)
	w.push(1)
	w.start(false)
	droplet, _ := w.store.Local().App(w.app)
	d, _ := w.store.Local().Droplet(droplet.DropletGUID)
	for i := range 10_000 {
		app := cf.App{Resource: w.resource(), Name: fmt.Sprint("app", i), SpaceGUID: "space", State: cf.AppStopped}
		web := cf.Process{Resource: w.resource(), AppGUID: app.GUID, Type: cf.ProcessWeb, Instances: 1}
		w.must(w.store.CreateApp(w.ctx, state.AppCreation{App: app, Web: web}))
		d.GUID, d.AppGUID = uuid.NewString(), app.GUID
		w.must(w.store.CreateDroplet(w.ctx, d))
		_, err := w.store.AssignDroplet(w.ctx, state.DropletAssignment{AppGUID: app.GUID, DropletGUID: d.GUID, At: w.now})
		w.must(err)
		_, err = w.store.StartApp(w.ctx, state.AppStart{GUID: app.GUID, Version: "v1", RevisionGUID: uuid.NewString(), At: w.now})
		w.must(err)
	}
	s, err := deploy.NewSteps(w.ctx, w.config(), 1)
	w.must(err)
	w.must(s.Pass(w.ctx))
	if n := len(w.nomad.Counts()); n != 10_001 {
		b.Fatalf("%d jobs", n)
	}
	w.must(s.Pass(w.ctx))
	for b.Loop() {
		w.must(s.Pass(w.ctx))
	}
}
