package buildpacks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSite(t *testing.T) {
	tests := []struct {
		name, text string
		want       site
		fails      string
	}{
		{"empty", "", site{}, ""},
		{"all", `
root: ./dist/
directory: visible
pushstate: enabled
host_dot_files: true
ssi: enabled
force_https: "true"
http_strict_transport_security: yes
http_strict_transport_security_include_subdomains: true
http_strict_transport_security_preload: true
location_include: includes/*.conf
status_codes:
  404: /404.html
  500: oops.html
`, site{
			Root: "dist", Listing: true, PushState: true, DotFiles: true, SSI: true, ForceHTTPS: true,
			HSTS: true, HSTSSub: true, HSTSPreload: true, Include: "includes/*.conf",
			StatusPages: []statusPage{{404, "/404.html"}, {500, "/oops.html"}},
		}, ""},
		{"off", "pushstate: disabled\ndirectory: false\nroot:\n", site{}, ""},
		{"unknown", "colour: red\nbasic: 1\n", site{sawUnhandled: []string{"basic", "colour"}}, ""},
		{"no map", "- a\n", site{}, "no YAML map"},
		{"out", "root: ../../etc\n", site{}, "root: \"../../etc\" leads out"},
		{"absolute", "root: /etc\n", site{}, "leads out"},
		{"number", "root: 7\n", site{}, "is no path"},
		{"injection", "location_include: 'x; autoindex on'\n", site{}, "would not take"},
		{"code", "status_codes: {x: /a}\n", site{}, "no status code"},
		{"page", "status_codes: {404: '/a; deny all'}\n", site{}, "is no page"},
		{"codes", "status_codes: 404\n", site{}, "must map"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSite([]byte(tt.text))
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error %v, want one with %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(site{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPublish(t *testing.T) {
	tests := []struct {
		name         string
		root         string
		files        []string
		public, left []string
	}{
		{
			"everything", "",
			[]string{"index.html", "css/a.css", ".hidden", "Staticfile", "manifest.yml", "Procfile", ".profile", "nginx/conf/x.conf"},
			[]string{".hidden", "css/a.css", "index.html"},
			[]string{".profile", "Procfile", "Staticfile", "manifest.yml", "nginx/conf/x.conf"},
		},
		{"a folder named public", "", []string{"public/a", "b"}, []string{"b", "public/a"}, nil},
		{"root is public", "public", []string{"public/a", "b"}, []string{"a"}, []string{"b"}},
		{"deeper", "public/site", []string{"public/site/a", "public/other", "b"}, []string{"a"}, []string{"b"}},
		{"elsewhere", "dist", []string{"dist/a", "dist/manifest.yml", "public/old"}, []string{"a", "manifest.yml"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{}
			for _, f := range tt.files {
				files[f] = "x"
			}
			a := newApp(t, files)
			if err := publish(a.Context, tt.root); err != nil {
				t.Fatal(err)
			}
			var public, left []string
			for _, f := range list(t, a.App) {
				if rest, ok := strings.CutPrefix(f, "public/"); ok {
					public = append(public, rest)
				} else {
					left = append(left, f)
				}
			}
			if diff := cmp.Diff(tt.public, public); diff != "" {
				t.Errorf("public: %s", diff)
			}
			if diff := cmp.Diff(tt.left, left); diff != "" {
				t.Errorf("left: %s", diff)
			}
		})
	}
	if err := publish(newApp(t, nil).Context, "nowhere"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("error %v", err)
	}
}

// list returns the files below a folder, sorted.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		out = append(out, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStaticfileWarnsAndChecks(t *testing.T) {
	a := newApp(t, map[string]string{"Staticfile": "colour: red\n", "Staticfile.auth": "bob:x", "index.html": "hi"})
	var checked []string
	a.Run = func(_ context.Context, c Command) error { checked = c.Args; return nil }
	if err := (Staticfile{}).Finalize(t.Context(), a.Context); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(a.log.String(), `**WARNING** Staticfile: "colour" is not known`) {
		t.Errorf("log:\n%s", a.log.String())
	}
	if len(checked) != 3 || checked[2] != "check" {
		t.Errorf("nginx was not asked: %v", checked)
	}
	if conf := a.text(t, "nginx/conf/nginx.conf.template"); !strings.Contains(conf, "auth_basic_user_file @APP@/nginx/conf/.htpasswd;") {
		t.Errorf("configuration:\n%s", conf)
	}
	if a.text(t, "Staticfile.auth") != "" || a.text(t, "nginx/conf/.htpasswd") != "bob:x" {
		t.Error("the passwords lie elsewhere")
	}

	b := newApp(t, map[string]string{"index.html": "hi"})
	b.Run = func(_ context.Context, c Command) error {
		_, _ = c.Stdout.Write([]byte("unknown directive"))
		return errors.New("exit status 1")
	}
	if err := (Staticfile{}).Finalize(t.Context(), b.Context); err == nil || !strings.Contains(err.Error(), "unknown directive") {
		t.Errorf("error %v", err)
	}
}

// TestStampFiles: files of one size and one time differ by their content.
func TestStampFiles(t *testing.T) {
	a := newApp(t, map[string]string{"one": "1", "two": "2", "same": "1"})
	if err := stampFiles(a.App); err != nil {
		t.Fatal(err)
	}
	at := func(name string) time.Time {
		info, err := os.Stat(filepath.Join(a.App, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	if !at("one").Equal(at("same")) || at("one").Equal(at("two")) || at("one").After(time.Now()) {
		t.Errorf("times: one %v, same %v, two %v", at("one"), at("same"), at("two"))
	}
}
