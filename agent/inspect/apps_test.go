package inspect

import (
	"context"
	"errors"
	"testing"
)

func TestApps(t *testing.T) {
	answer := func(a Apps, err error) Env {
		return Env{Configured: true, Platform: true, Apps: func(context.Context) (Apps, error) { return a, err }}
	}
	shop := App{Organization: "acme", Space: "dev", Name: "shop", Process: "web", Asked: 3, Running: 1, Reasons: []string{"#1: It is starting.", "#2: No DEA."}}
	worker, gone := shop, App{Name: "1f2e", Process: "web", Reasons: []string{"1 run that nobody asks for."}}
	worker.Process = "worker"
	for name, tt := range map[string]struct {
		env  Env
		want []string
	}{
		"in no cluster":   {Env{}, []string{"ok: in no cluster"}},
		"no apps":         {Env{Configured: true}, []string{"ok: runs no apps"}},
		"nothing to ask":  {Env{Configured: true, Platform: true}, []string{"warn: nothing to look at"}},
		"all well":        {answer(Apps{Started: 7}, nil), []string{"ok: 7 apps are started"}},
		"no Primary":      {answer(Apps{}, errors.New("is not the Primary")), []string{"warn: is not the Primary"}},
		"differences":     {answer(Apps{Different: []App{shop, worker}}, nil), []string{"warn: acme/dev/shop: 1 of 3 run. #1: It is starting. #2: No DEA.", "warn: acme/dev/shop (worker): 1 of"}},
		"of deleted apps": {answer(Apps{Different: []App{gone}, More: 4}, nil), []string{"warn: 1f2e, which is deleted: 0 of 0 run. 1 run that", "warn: 4 more"}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, tt.env.apps(t.Context()), tt.want...) })
	}
}
