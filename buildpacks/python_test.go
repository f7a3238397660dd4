package buildpacks

import (
	"context"
	"errors"
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
		{"index", map[string]string{"requirements.txt": "flask"}, "pip install --requirement requirements.txt", "Running pip install (requirements.txt)\n"},
		{
			"vendored",
			map[string]string{"requirements.txt": "x", "vendor/x.whl": ""},
			"pip install --requirement requirements.txt --no-index --find-links vendor", "from vendor/ only",
		},
		{"several", map[string]string{"requirements.txt": "x", "Pipfile": "", "setup.py": "", "pyproject.toml": "[project]"}, "pip install --requirement requirements.txt", ""},
		{"setup.py", map[string]string{"setup.py": ""}, "pip install --editable .", "Running pip install (setup.py)"},
		{"pyproject.toml", map[string]string{"pyproject.toml": "[project]\n"}, "pip install --requirement requirements-of-project.txt", "Running pip install (pyproject.toml)"},
		{"named for nothing", map[string]string{"app.py": ""}, "", "nothing to install"},
		{"tools alone", map[string]string{"pyproject.toml": "[tool.black]\n"}, "", "nothing to install"},
		{"other runtime", map[string]string{"requirements.txt": "", "runtime.txt": "python-3.9.x\n"}, "pip install --requirement requirements.txt", "asks for Python 3.9; the app gets 3.11.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t, tt.files)
			pip := pretendPip(a, "", nil)
			if err := (Python{}).Supply(t.Context(), a.Context); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.pip, strings.ReplaceAll(*pip, a.Temp+"/", "")); diff != "" {
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

// pretendPip has commands succeed, but for pip, which says and returns this. It
// returns pip's arguments.
func pretendPip(a *app, says string, err error) *string {
	pip := new(string)
	a.Run = func(_ context.Context, c Command) error {
		switch {
		case c.Args[2] == "pip":
			*pip = strings.Join(c.Args[2:], " ")
			for _, part := range strings.SplitAfter(says, " ") { // as it likes
				_, _ = c.Watch.Write([]byte(part))
			}
			return err
		case c.Args[2] == readProject:
			fmt.Fprintln(c.Stdout, "flask>=3")
		case c.Args[1] == "-c":
			fmt.Fprintln(c.Stdout, "3.11.2")
		}
		return nil
	}
	return pip
}

// TestPythonIsNotRead: what cannot be read says how to get what can.
func TestPythonIsNotRead(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"pipenv requirements > requirements.txt": {"Pipfile": "", "Pipfile.lock": "{}", "pyproject.toml": "[tool.poetry]"},
		"poetry export":                          {"pyproject.toml": "[build-system]\n\n[ tool.poetry ]\nname = 'x'\n"},
	} {
		a := newApp(t, files)
		if _, ok, err := (Python{}).Detect(t.Context(), a.Context); !ok || err != nil {
			t.Errorf("%v is not detected: %v", files, err)
		}
		if err := (Python{}).Supply(t.Context(), a.Context); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", files, err, want)
		}
	}
}

// TestPipFailures: lines of pip 23, which has many words for few causes.
func TestPipFailures(t *testing.T) {
	const none = "ERROR: Could not find a version that satisfies the requirement flask==99 (from versions: none)\n" +
		"ERROR: No matching distribution found for flask==99\n"
	const retry = "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by "
	for _, tt := range []struct{ name, says, want string }{
		{"missing", none, "the index has no flask==99 that Python 3.11.2 can use"},
		{"vendored", none, "vendor/ has nothing for flask==99"},
		{"unreachable", retry + "'NewConnectionError: Temporary failure in name resolution': /simple/flask/\n" + none, "cannot be reached from here"},
		{"proxy", retry + "'ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 502'))'\n" + none, "cloud/staging_http_proxy"},
		{"untrusted", retry + "'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]\n" + none, "cloud/certificates"},
		{"hash", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n", "not what its hash says"},
		{"unhashed", "ERROR: Hashes are required in --require-hashes mode, but they are missing from some requirements.\n", "pip-compile --generate-hashes"},
		{"exclude", "ERROR: ResolutionImpossible: for help visit\n", "exclude each other"},
		{"unbuilt", "  error: subprocess-exited-with-error\n", "compiler"},
		{"a long line", strings.Repeat("x", 3*maxLine) + "\n" + none, "the index has no flask==99"},
		{"something else", "ERROR: other\n", "as it says above: exit status 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"requirements.txt": "flask==99"}
			if tt.name == "vendored" {
				files["vendor/x.whl"] = ""
			}
			a := newApp(t, files)
			pretendPip(a, tt.says, errors.New("exit status 1"))
			if err := (Python{}).Supply(t.Context(), a.Context); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
