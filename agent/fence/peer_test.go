package fence

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

func TestContainerOfCgroup(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	tests := map[string]struct{ cgroup, want string }{
		"v1":              {"12:pids:/docker/" + a + "\n9:name=systemd:/docker/" + a + "\n0::/\n", a},
		"v1 with a node":  {"12:pids:/docker/" + b + "/docker/" + a + "\n", a},
		"v1 by systemd":   {"4:memory:/system.slice/docker-" + a + ".scope\n", a},
		"v2":              {"0::/system.slice/docker-" + a + ".scope\n", a},
		"v2 below Nomad":  {"0::/nomad.slice/share.slice/docker-" + a + ".scope\n", a},
		"v2 of a sibling": {"0::/../../docker/" + a + "\n", a},
		"v2 inner":        {"0::/docker/" + a + "/init.scope\n", a},
		"host":            {"0::/user.slice/user-0.slice\n", ""},
		"short":           {"0::/docker/" + a[:60] + "\n", ""},
		"two":             {"1:cpu:/docker/" + a + "\n2:pids:/docker/" + b + "\n", ""},
		"empty":           {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := containerOf(strings.NewReader(tt.cgroup))
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %.12q, %v", got, err)
			}
		})
	}
}

// TestStrangersAreRefused: who is no first process of a labelled container
// gets nothing.
func TestStrangersAreRefused(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)

	t.Run("a process of the node", func(t *testing.T) {
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.Socket())
		}}}
		defer client.CloseIdleConnections()
		resp, err := client.Get("http://fence/v1/instance")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %s", resp.Status)
		}
	})
	t.Run("an unlabelled container", func(t *testing.T) {
		out := docker(t, "run", "--rm", "-v", n.mounted+":/stackato:ro", built.image, "/bin/testapp", "ask", "GET", "/v1/instance", "")
		if !strings.Contains(out, " 401 ") {
			t.Error(out)
		}
	})
	t.Run("not the first process", func(t *testing.T) {
		out := docker(t, "run", "--rm", "--label", labelAlloc+"=a", "--label", labelKind+"=app", "--label", labelProcess+"=p1", "--label", labelVersion+"=v1",
			"-v", n.mounted+":/stackato:ro", built.image, "/bin/bash", "-c", "/bin/testapp ask GET /v1/instance ''; true")
		if !strings.Contains(out, " 401 ") || strings.Contains(out, "s3cret") {
			t.Error(out)
		}
	})
}

// TestKindsAreApart: an app gets nothing of builds, a build nothing of apps,
// and no build anything of another.
func TestKindsAreApart(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	own, other := w.put([]byte("own package")), w.put([]byte("other package"))
	w.builds["b1"] = staging.Spec{BuildGUID: "b1", Token: "t0ken", Package: own}
	n := startNode(t, w, nil)

	out := n.ask("a1", instance.KindApp, "p1", "GET", "/v1/build", "", "GET", "/v1/blobs/"+own.Digest, "", "PUT", "/v1/droplet", "x", "POST", "/v1/result", "{}")
	if got := strings.Count(out, " 403 "); got != 4 {
		t.Errorf("an app: %d refusals in\n%s", got, out)
	}
	out = n.ask("s1", instance.KindStaging, "b1", "GET", "/v1/instance", "", "GET", "/v1/droplet", "", "POST", "/v1/stopping", "", "POST", "/v1/started", "")
	if got := strings.Count(out, " 403 "); got != 4 {
		t.Errorf("a build: %d refusals in\n%s", got, out)
	}
	out = n.ask("s1", instance.KindStaging, "b1", "GET", "/v1/blobs/"+other.Digest, "", "POST", "/v1/result", `{"build_guid":"b2"}`, "GET", "/v1/blobs/..%2fkey", "")
	if got := strings.Count(out, " 403 "); got != 3 || strings.Contains(out, "other package") {
		t.Errorf("another build's: %d refusals in\n%s", got, out)
	}
	out = n.ask("s2", instance.KindStaging, "b2", "GET", "/v1/build", "")
	if !strings.Contains(out, " 404 ") {
		t.Errorf("an unknown build: %s", out)
	}
}

// TestBuild: everything a stager asks for.
func TestBuild(t *testing.T) {
	w := newWorld()
	pack, buildpack, wrong := w.put([]byte("package")), w.put([]byte("buildpack")), w.put([]byte("wrong"))
	w.blobs[wrong.Digest] = []byte("forged")
	w.builds["b1"] = staging.Spec{
		BuildGUID: "b1", Token: "t0ken", Package: pack, Cache: wrong, Certificates: "-----more-----",
		Buildpacks: []staging.Buildpack{{Name: "bp", Blob: buildpack}},
	}
	n := startNode(t, w, func(c *Config) { c.UploadBytes = 1000 })
	out := n.ask("s1", instance.KindStaging, "b1",
		"GET", "/v1/build", "", "GET", "/v1/blobs/"+pack.Digest, "", "GET", "/v1/blobs/"+buildpack.Digest, "", "GET", "/v1/blobs/"+wrong.Digest, "",
		"PUT", "/v1/droplet", "a droplet", "PUT", "/v1/cache", "a cache", "PUT", "/v1/droplet", strings.Repeat("x", 1001),
		"GET", "/v1/certificates", "", "POST", "/v1/result", `{"build_guid":"b1","process_types":{"web":"run"}}`)
	made := w.put([]byte("a droplet"))
	for _, want := range []string{
		`GET /v1/build 200 {"build_guid":"b1","token":"t0ken"`, "GET /v1/blobs/" + pack.Digest + " 200 package", "GET /v1/blobs/" + buildpack.Digest + " 200 buildpack",
		"GET /v1/blobs/" + wrong.Digest + " no answer", `PUT /v1/droplet 200 {"digest":"` + made.Digest, "PUT /v1/cache 200", "PUT /v1/droplet 400",
		"-----BEGIN CERTIFICATE-----\n\n-----more-----", "POST /v1/result 204",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if len(w.results) != 1 || w.results[0].ProcessTypes["web"] != "run" {
		t.Errorf("results %+v", w.results)
	}
	if w.count("blob "+pack.Digest+" t0ken") != 1 {
		t.Errorf("asked %q", w.asked)
	}
	for blob, kept := range map[instance.Blob]bool{made: true, buildpack: true, pack: false, wrong: false} {
		file, ok := n.blobs.cached(blob)
		if ok {
			file.Close()
		}
		if ok != kept {
			t.Errorf("blob %.12s kept: %v", blob.Digest, ok)
		}
	}
	await(t, "an end", func() bool { return len(n.staging()) == 0 })
}

// TestBuildOverItsDisk: a build that holds too much is stopped, and why is
// reported and logged.
func TestBuildOverItsDisk(t *testing.T) {
	w := newWorld()
	w.builds["b1"] = staging.Spec{BuildGUID: "b1", Token: "t0ken", DiskMB: 5}
	n := startNode(t, w, nil)
	n.fill("b1")
	await(t, "report", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.results) == 1 })
	if r := w.results[0]; r.BuildGUID != "b1" || r.Error != staging.ErrStaging || !strings.Contains(r.Detail, "disk limit exceeded: ") {
		t.Errorf("%+v", r)
	}
	if !w.logged("app-b1 STG/0 Staging was stopped, disk limit exceeded: ") || !w.logged(" MB of 5 MB") {
		t.Errorf("log %q", w.lines)
	}
}
