package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stackato/stackato/wire/routing"
)

func TestHostsBlock(t *testing.T) {
	block := hostsBlock([]string{"api.stackato.localhost", "a.stackato.localhost"})
	for name, old := range map[string]string{
		"empty":              "",
		"others":             "127.0.0.1 localhost\n::1 ip6-localhost\n",
		"no newline":         "127.0.0.1 localhost",
		"ours before":        "127.0.0.1 localhost\n" + hostsBlock([]string{"old.stackato.localhost"}) + "10.0.0.1 other\n",
		"ours twice":         hostsBlock([]string{"x"}) + "10.0.0.1 other\n" + hostsBlock([]string{"y"}),
		"block never closed": "10.0.0.1 other\n" + hostsBegin + "\n127.0.0.1 x\n",
	} {
		got := string(withHostsBlock([]byte(old), block))
		if strings.Count(got, hostsBegin) != 1 || !strings.HasSuffix(got, block) {
			t.Errorf("%s: %q", name, got)
		}
		if strings.Contains(old, "other") != strings.Contains(got, "10.0.0.1 other\n") || strings.Contains(got, "127.0.0.1 x\n") {
			t.Errorf("%s: other lines are not as they were: %q", name, got)
		}
		again := string(withHostsBlock([]byte(got), block))
		if again != got {
			t.Errorf("%s: written twice it differs: %q", name, again)
		}
		if gone := string(withHostsBlock([]byte(got), "")); strings.Contains(gone, "stackato") {
			t.Errorf("%s: something is left: %q", name, gone)
		}
	}
}

func TestHostsFileFollowsRoutes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := newHostsFile(path, slog.New(slog.DiscardHandler))
	route := func(host, p string) routing.Route { return routing.Route{Key: routing.Key{Host: host, Path: p}} }
	h.apply(&routing.Update{
		Snapshot: true, System: &routing.System{Hosts: []string{"api.stackato.localhost"}},
		Routes: []routing.Route{route("a.stackato.localhost", ""), route("*.stackato.localhost", ""), route("b.stackato.localhost", "/only"), route("github.com", ""), route("notlocalhost", "")},
	})
	want := "127.0.0.1 localhost\n" + hostsBlock([]string{"api.stackato.localhost", "a.stackato.localhost"})
	if got, _ := os.ReadFile(path); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	h.apply(&routing.Update{Removed: []routing.Key{{Host: "a.stackato.localhost"}}})
	want = "127.0.0.1 localhost\n" + hostsBlock([]string{"api.stackato.localhost"})
	if got, _ := os.ReadFile(path); string(got) != want {
		t.Errorf("after the route went: got %q, want %q", got, want)
	}
}
