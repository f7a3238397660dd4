package lifecycle

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stackato/stackato/buildpacks"
	"github.com/stackato/stackato/wire/staging"
)

// repository makes a git repository with these files and returns its folder.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"add", "-A"},
		{"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x"},
		{"tag", "v1"},
	} {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

func TestGitBuildpack(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	dir := repository(t, map[string]string{
		"bin/compile": "#!/bin/sh\necho built >\"$1/built\"\n",
		"bin/release": "#!/bin/sh\necho 'default_process_types: {web: ./built}'\n",
	})
	tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}), staging.Buildpack{URL: "file://" + dir + "#v1"})
	tr.AllowInternal = true
	result := tr.mustRun(t)
	if result.ProcessTypes["web"] != "./built" || result.Buildpacks[0].Name != "file://"+dir+"#v1" {
		t.Errorf("%+v", result)
	}
	if unpacked(t, tr.droplet.Bytes())["./app/built"] != "built\n" {
		t.Error("the buildpack did not run")
	}
}

func TestGitRefuses(t *testing.T) {
	for address, say := range map[string]string{
		"http://github.com/a/b":                 "only https",
		"file:///etc":                           "only https",
		"ssh://git@github.com/a/b":              "only https",
		"git@github.com:a/b":                    "only https",
		"--upload-pack=touch /tmp/x":            "only https",
		"ext::sh -c true":                       "only https",
		"https://127.0.0.1/a":                   "internal address",
		"https://localhost/a":                   "internal address",
		"https://10.0.0.1:8443/a":               "internal address",
		"https://169.254.169.254/latest":        "internal address",
		"https://[::1]/a":                       "internal address",
		"https://[::ffff:192.168.1.1]/a":        "internal address",
		"https://user:secret@192.168.0.1/a.git": "internal address",
	} {
		t.Run(address, func(t *testing.T) {
			tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}), staging.Buildpack{URL: address})
			f := tr.failsWith(t, staging.ErrStaging)
			if !strings.Contains(f.Error(), say) {
				t.Errorf("%v does not say %q", f, say)
			}
			if strings.Contains(f.Error()+tr.log.String(), "secret") {
				t.Errorf("a password is shown: %v\n%s", f, tr.log.String())
			}
		})
	}
}

// TestGitRefusesInternalSubmodules: what the buildpack's own host cannot name,
// its submodules cannot either.
func TestGitRefusesInternalSubmodules(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	tr.env = tr.environment()
	tr.Build.log = buildpacks.NewLog(&tr.log)
	dir := repository(t, map[string]string{".gitmodules": "[submodule \"m\"]\n\tpath = m\n\turl = https://10.1.2.3/m\n"})
	if err := tr.cloneModules(t.Context(), "https://example.com/x", dir); err == nil || !strings.Contains(err.Error(), "internal address") {
		t.Error(err)
	}
}

func TestNameHasNoPassword(t *testing.T) {
	p := pack{spec: staging.Buildpack{URL: "https://bob:secret@example.com/p.git#v1"}}
	if got := p.name(); strings.Contains(got, "secret") || !strings.Contains(got, "example.com/p.git#v1") {
		t.Error(got)
	}
}

func TestInternal(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": false, "2606:4700::1111": false, "140.82.121.3": false,
		"0.0.0.0": true, "10.1.1.1": true, "100.64.1.1": true, "127.0.0.2": true, "169.254.0.1": true, "172.16.0.1": true,
		"192.168.1.1": true, "198.18.0.1": true, "224.0.0.1": true, "255.255.255.255": true, "::": true, "::1": true,
		"fe80::1": true, "fd00::1": true, "::ffff:10.0.0.1": true, "64:ff9b::a00:1": true, "2002:a00:1::": true,
	} {
		if got := internal(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: internal is %t", address, got)
		}
	}
}

// TestGitWithoutTheProxy: what a proxy need not guard is looked at here.
func TestGitWithoutTheProxy(t *testing.T) {
	for _, tt := range []struct {
		except   map[string]string
		internal bool
	}{
		{nil, false},
		{map[string]string{"no_proxy": "example.com,local"}, false},
		{map[string]string{"no_proxy": "example.com, LocalHost"}, true},
		{map[string]string{"NO_PROXY": ".localhost"}, true},
		{map[string]string{"NO_PROXY": "*"}, true},
		{map[string]string{"no_proxy": "localhost:443"}, true},
	} {
		tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
		tr.Spec.HTTPProxy, tr.Spec.Env = "http://proxy:3128", tt.except
		tr.env = tr.environment()
		_, err := tr.gitOptions(t.Context(), "https://localhost/a")
		if got := err != nil && strings.Contains(err.Error(), "internal address"); got != tt.internal || !got && err != nil {
			t.Errorf("with %v: %v", tt.except, err)
		}
	}
}
