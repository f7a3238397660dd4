package buildpacks

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPython(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		pip   string
		log   string
	}{
		{"index", map[string]string{"requirements.txt": "flask"}, "pip install --requirement requirements.txt", "Running pip install\n"},
		{
			"vendored",
			map[string]string{"requirements.txt": "x", "vendor/x.whl": ""},
			"pip install --requirement requirements.txt --no-index --find-links vendor", "from vendor/ only",
		},
		{"nothing", map[string]string{"setup.py": ""}, "", "nothing to install"},
		{"other runtime", map[string]string{"setup.py": "", "runtime.txt": "python-3.9.x\n"}, "", "asks for Python 3.9; the app gets 3.11.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t, tt.files)
			var pip string
			a.Run = func(_ context.Context, c Command) error {
				if c.Args[1] == "-c" {
					fmt.Fprintln(c.Stdout, "3.11.2")
				}
				if len(c.Args) > 2 && c.Args[2] == "pip" {
					pip = strings.Join(c.Args[2:], " ")
				}
				return nil
			}
			if err := (Python{}).Supply(t.Context(), a.Context); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.pip, pip); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(a.log.String(), tt.log) {
				t.Errorf("log without %q:\n%s", tt.log, a.log.String())
			}
		})
	}
	same := newApp(t, map[string]string{"runtime.txt": "python-3.11.x"})
	if err := warnRuntime(same.Context, "3.11.2"); err != nil || same.log.Len() != 0 {
		t.Errorf("%v %s", err, same.log.String())
	}
	if err := (Python{}).Finalize(t.Context(), same.Context); err != nil {
		t.Fatal(err)
	}
	if got := list(t, same.Profile); !cmp.Equal(got, []string{"000_multi-supply.sh", "0_python.sh"}) {
		t.Errorf("profile scripts %v in %s", got, filepath.Base(same.Profile))
	}
}
