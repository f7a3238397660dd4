package buildpacks

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a build in temporary folders. Commands are not run: they are handed to
// run, which fails if it is nil.
type app struct {
	*Context
	log bytes.Buffer
}

func newApp(t *testing.T, files map[string]string) *app {
	t.Helper()
	dir := t.TempDir()
	a := &app{}
	a.Context = &Context{
		App: filepath.Join(dir, "app"), Cache: filepath.Join(dir, "cache"), Deps: filepath.Join(dir, "deps"),
		Profile: filepath.Join(dir, "profile.d"), Temp: filepath.Join(dir, "tmp"), Final: true, AppName: "shop",
		Env: map[string]string{"PATH": os.Getenv("PATH")}, Log: NewLog(&a.log),
		Run: func(context.Context, Command) error { return errors.New("no commands here") },
	}
	for _, d := range []string{a.App, a.Cache, a.Dep(), a.Temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range files {
		file := filepath.Join(a.App, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// text returns a file of the app, "" if there is none.
func (a *app) text(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(a.App, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}
