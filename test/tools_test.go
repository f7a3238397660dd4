package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// toolshed is a copy of what scripts/tools works with, with programs of its
// own on PATH. Its "go" writes a Nomad of the pinned version.
type toolshed struct {
	t                *testing.T
	root, path, temp string
}

const fakeGo = `#!/bin/sh
case $1 in
version | env) echo "fake $*" ;;
build)
	echo built >>"$TOOLSHED/builds"
	[ ! -e "$TOOLSHED/broken" ] || { echo "proxy.example: no such host" >&2; exit 1; }
	while [ "$1" != -o ]; do shift; done
	version=$(sed -n 's|.*github.com/hashicorp/nomad v\([^ ]*\).*|\1|p' go.mod | head -n 1)
	printf '#!/bin/sh\necho "Nomad v%s"\n' "$version" >"$2"
	chmod 755 "$2"
	;;
esac
`

func newToolshed(t *testing.T) toolshed {
	t.Helper()
	dir := t.TempDir()
	s := toolshed{t, filepath.Join(dir, "root"), filepath.Join(dir, "path"), dir}
	for from, to := range map[string]string{
		"../scripts/tools": "scripts/tools", "../scripts/progress.sh": "scripts/progress.sh",
		"../tools/nomad/go.mod": "tools/nomad/go.mod", "../tools/nomad/go.sum": "tools/nomad/go.sum",
	} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		s.write(filepath.Join(s.root, to), string(data))
	}
	s.write(filepath.Join(s.path, "go"), fakeGo)
	return s
}

func (s toolshed) write(path, content string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// nomad puts a Nomad of some version on PATH.
func (s toolshed) nomad(version string) {
	s.t.Helper()
	s.write(filepath.Join(s.path, "nomad"), fmt.Sprintf("#!/bin/sh\necho 'Nomad v%s'\n", version))
}

func (s toolshed) run() (string, error) {
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.root, "scripts", "tools"), "nomad")
	cmd.Env = []string{"PATH=" + s.path + ":/usr/bin:/bin", "STACKATO_CACHE=" + filepath.Join(s.temp, "cache"), "TOOLSHED=" + s.temp, "TMPDIR=" + s.temp}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// builds is how often go build was called.
func (s toolshed) builds() int {
	data, _ := os.ReadFile(filepath.Join(s.temp, "builds"))
	return strings.Count(string(data), "built")
}

// placed is the version of the Nomad in bin/.
func (s toolshed) placed() string {
	out, err := exec.CommandContext(s.t.Context(), filepath.Join(s.root, "bin", "nomad"), "version").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// TestTools: a suitable Nomad on PATH is taken, any other is named and the
// pinned version built, once; a build that fails says what to do.
func TestTools(t *testing.T) {
	t.Run("suitable", func(t *testing.T) {
		s := newToolshed(t)
		s.nomad("1.10.5")
		out, err := s.run()
		if err != nil || s.placed() != "Nomad v1.10.5" || s.builds() != 0 || !strings.Contains(out, "taken from "+s.path+"/nomad") {
			t.Errorf("%v, %d builds, bin/nomad says %q\n%s", err, s.builds(), s.placed(), out)
		}
		if out, err := s.run(); err != nil || out != "" {
			t.Errorf("the second time: %v\n%s", err, out)
		}
	})
	for name, c := range map[string]struct{ version, why string }{
		"too old":     {"1.5.3", "version 1.5.3 is older than 1."},
		"too new":     {"2.0.0", "version 2.0.0 is not known to work (wanted: older than 1."},
		"no version":  {"", "it does not print a version"},
		"not on PATH": {"none", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newToolshed(t)
			if c.version != "none" {
				s.nomad(c.version)
				c.why = s.path + "/nomad is not used: " + c.why
			}
			out, err := s.run()
			if err != nil || s.builds() != 1 || !strings.Contains(out, c.why) || !strings.Contains(out, "building nomad") {
				t.Errorf("%v, %d builds, want %q\n%s", err, s.builds(), c.why, out)
			}
			if got := s.placed(); !strings.HasPrefix(got, "Nomad v1.") || got == "Nomad v"+c.version {
				t.Errorf("bin/nomad says %q", got)
			}
			if out, err := s.run(); err != nil || s.builds() != 1 || strings.Contains(out, "building") {
				t.Errorf("the second time: %v, %d builds\n%s", err, s.builds(), out)
			}
		})
	}
	t.Run("build fails", func(t *testing.T) {
		s := newToolshed(t)
		s.write(filepath.Join(s.temp, "broken"), "")
		out, err := s.run()
		for _, part := range []string{"could not be built", "proxy.example: no such host", "run this again; or put nomad >= 1."} {
			if err == nil || !strings.Contains(out, part) {
				t.Errorf("%v, does not say %q:\n%s", err, part, out)
			}
		}
		if _, err := os.Stat(filepath.Join(s.root, "bin", "nomad")); err == nil {
			t.Error("something was placed in bin/")
		}
	})
}
