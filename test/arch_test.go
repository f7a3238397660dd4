// Package test holds what concerns the repository as a whole: the rules of its
// layout here, end-to-end and chaos tests in the folders below.
package test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArchitecture holds the layout and the import rules of architecture §8.
func TestArchitecture(t *testing.T) {
	files, err := readTree("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found: the test looks at the wrong place")
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
}

// src returns a Go file. An import without a dot in its first element is one of
// the module, unless it starts with "std:".
func src(pkg string, imports ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\n", pkg)
	for _, name := range imports {
		std, isStd := strings.CutPrefix(name, "std:")
		switch {
		case isStd:
			name = std
		case !strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
			name = module + "/" + name
		}
		fmt.Fprintf(&b, "import _ %q\n", name)
	}
	return b.String()
}

// cleanTree keeps every rule; each case of TestRulesCanFail adds to it.
var cleanTree = map[string]string{
	"go.mod":                          "module " + module + "\n",
	"cmd/kato/main.go":                src("main", "agent/local", "internal/buildinfo"),
	"cmd/stackato-agent/main.go":      src("main", "agent", "controller/api", "internal/buildinfo", "internal/atomicfile"),
	"agent/agent.go":                  src("agent", "agent/consensus", "agent/cluster", "agent/supervise/nomad"),
	"agent/local/local.go":            src("local", "agent/node"),
	"agent/node/node.go":              src("node", "std:strings"),
	"agent/cluster/cluster.go":        src("cluster", "agent/cluster/pki", "agent/node"),
	"agent/cluster/pki/pki.go":        src("pki", "internal/atomicfile"),
	"agent/consensus/raft.go":         src("consensus", "github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2"),
	"agent/consensus/bench/bench.go":  src("bench", "github.com/hashicorp/raft"),
	"agent/member/member.go":          src("member", "github.com/hashicorp/memberlist"),
	"agent/fence/docker.go":           src("fence", "github.com/docker/docker/client"),
	"agent/catalog/catalog.go":        src("catalog", "github.com/hashicorp/consul/api"),
	"agent/supervise/nomad/nomad.go":  src("nomad", "github.com/hashicorp/nomad/api"),
	"controller/api/api.go":           src("api", "controller/cf", "wire"),
	"controller/cf/cf.go":             src("cf", "wire"),
	"controller/deploy/deploy.go":     src("deploy", "jobs", "github.com/hashicorp/nomad/api"),
	"jobs/jobs.go":                    src("jobs", "controller/cf", "github.com/hashicorp/nomad/api", "std:fmt"),
	"jobs/jobs_test.go":               src("jobs", "github.com/google/go-cmp/cmp"),
	"router/watch/watch.go":           src("watch", "wire", "github.com/hashicorp/consul/api"),
	"wire/wire.go":                    src("wire"),
	"internal/buildinfo/buildinfo.go": src("buildinfo"),
	"internal/atomicfile/file.go":     src("atomicfile"),
	"test/cluster/cluster.go":         src("cluster", "agent/local", "controller/api", "github.com/docker/docker/client"),
	"tools/nomad/go.mod":              "module x\n",
	"tools/nomad/tools.go":            src("util", "github.com/hashicorp/nomad"),
	"agent/fence/testdata/bad.go":     "this is not Go",
}

func TestCleanTreePasses(t *testing.T) {
	if got := check(t, cleanTree); len(got) != 0 {
		t.Errorf("a tree that keeps the rules was refused:\n%s", strings.Join(got, "\n"))
	}
}

func TestRulesCanFail(t *testing.T) {
	nine := map[string]string{}
	for i := range 9 {
		nine[fmt.Sprintf("internal/p%d/p.go", i)] = src("p")
	}
	long := func(lines int) string { return "package local\n" + strings.Repeat("\n", lines-1) }
	one := func(path, content string) map[string]string { return map[string]string{path: content} }

	tests := []struct {
		name string
		add  map[string]string
		want string // part of a violation; "" for none
	}{
		{"docker outside fence", one("agent/apptail/a.go", src("apptail", "github.com/docker/docker/client")), "only agent/fence may"},
		{"docker types outside fence", one("cmd/kato/x.go", src("main", "github.com/docker/docker/api/types")), "only agent/fence may"},
		{"raft in the controller", one("controller/state/s.go", src("state", "github.com/hashicorp/raft")), "only agent/consensus may"},
		{"boltdb log elsewhere", one("agent/cluster/s.go", src("cluster", "github.com/hashicorp/raft-boltdb/v2")), "only agent/consensus may"},
		{"a folder that only begins alike", one("agent/consensus2/s.go", src("consensus2", "github.com/hashicorp/raft")), "only agent/consensus may"},
		{"memberlist elsewhere", one("agent/cluster/m.go", src("cluster", "github.com/hashicorp/memberlist")), "only agent/member may"},
		{"nomad api in the API", one("controller/api/n.go", src("api", "github.com/hashicorp/nomad/api")), "only jobs, controller/deploy"},
		{"nomad api in the supervisor itself", one("agent/supervise/n.go", src("supervise", "github.com/hashicorp/nomad/api")), "only jobs, controller/deploy"},
		{"nomad embedded", one("agent/supervise/nomad/n.go", src("nomad", "github.com/hashicorp/nomad/command")), "never embedded"},
		{"consul embedded", one("agent/supervise/consul/n.go", src("consul", "github.com/hashicorp/consul/agent")), "never embedded"},
		{"consul api in the proxy", one("router/proxy/p.go", src("proxy", "github.com/hashicorp/consul/api")), "only agent/catalog"},
		{"in a test too", one("controller/state/s_test.go", src("state", "github.com/hashicorp/raft")), "only agent/consensus may"},

		{"agent imports controller", one("agent/rpc/r.go", src("rpc", "controller/cf")), "agent never imports controller"},
		{"controller imports agent", one("controller/state/s.go", src("state", "agent/consensus")), "controller never imports agent"},
		{"router imports controller", one("router/table/t.go", src("table", "controller/cf")), "router never imports agent, controller"},
		{"router imports agent", one("router/table/t.go", src("table", "agent/node")), "router never imports agent, controller"},
		{"jobs imports wire", one("jobs/j.go", src("jobs", "wire")), "jobs imports only controller/cf"},
		{"jobs imports a library", one("jobs/j.go", src("jobs", "github.com/google/uuid")), "jobs is pure"},
		{"wire is no leaf", one("wire/w.go", src("wire", "agent/node")), "wire imports only"},
		{"cf is no leaf", one("controller/cf/w.go", src("cf", "controller/state")), "controller/cf imports only"},
		{"node is no leaf", one("agent/node/w.go", src("node", "agent/local")), "agent/node imports only"},
		{"product imports test", one("agent/rpc/r.go", src("rpc", "test/cluster")), "only tests import test/"},
		{"product imports test support", map[string]string{
			"agent/supervise/supervisetest/s.go": src("supervisetest"),
			"agent/rpc/r.go":                     src("rpc", "agent/supervise/supervisetest"),
		}, "only tests import test/ and test support"},
		{"test support has its place", map[string]string{
			"agent/supervise/supervisetest/s.go": src("supervisetest"),
			"agent/rpc/r_test.go":                src("rpc", "agent/supervise/supervisetest"),
		}, ""},
		{"test support of another package", one("agent/supervise/rpctest/s.go", src("rpctest")), "agent/supervise holds no packages but"},
		{"a test imports test", one("agent/rpc/r_test.go", src("rpc", "test/cluster")), ""},

		{"internal knows the project", one("internal/atomicfile/x.go", src("atomicfile", "wire")), "internal imports nothing else"},
		{"internal imports internal", one("internal/atomicfile/x.go", src("atomicfile", "internal/buildinfo")), "internal imports nothing else"},
		{"nine internal packages", nine, "internal holds 11 packages"},
		{"internal used once", map[string]string{
			"internal/ring/r.go": src("ring"),
			"agent/rpc/r.go":     src("rpc", "internal/ring"),
		}, "internal/ring is imported by 1 packages"},
		{"internal used by itself", map[string]string{
			"internal/ring/r.go":      src("ring"),
			"internal/ring/r_test.go": src("ring_test", "internal/ring"),
		}, "internal/ring is imported by 0 packages"},

		{"top folder unknown", one("pkg/x/x.go", src("x")), "no such place"},
		{"root package", one("main.go", src("main")), "no such place"},
		{"agent folder unknown", one("agent/gossip/x.go", src("gossip")), "agent holds no packages but"},
		{"below an unknown folder", one("agent/gossip/deep/x.go", src("deep")), "agent holds no packages but"},
		{"cluster folder unknown", one("agent/cluster/ca/x.go", src("ca")), "agent/cluster holds no packages but"},
		{"supervise folder unknown", one("agent/supervise/vault/x.go", src("vault")), "agent/supervise holds no packages but"},
		{"controller folder unknown", one("controller/store/x.go", src("store")), "controller holds no packages but"},
		{"router folder unknown", one("router/nginx/x.go", src("nginx")), "router holds no packages but"},
		{"binary unknown", one("cmd/stackatoctl/main.go", src("main")), "cmd holds no packages but"},
		{"main without a name", one("cmd/main.go", src("main")), "cmd holds no packages but"},
		{"deeper in a known folder", one("agent/fence/disk/x.go", src("disk")), ""},

		{"folder util", one("agent/fence/util/x.go", src("disk")), `the name "util" says nothing`},
		{"package helpers", one("agent/fence/disk/x.go", src("helpers")), `the name "helpers" says nothing`},
		{"package common", one("internal/common/x.go", src("common")), `the name "common" says nothing`},

		{"400 lines", one("agent/local/long.go", long(400)), ""},
		{"401 lines", one("agent/local/long.go", long(401)), "agent/local/long.go has 401 lines"},
		{"401 lines of a test", one("agent/local/long_test.go", long(401)), ""},
		{"401 generated lines", one("agent/local/gen.go", "// Code generated by x. DO NOT EDIT.\n\n"+long(401)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := maps.Clone(cleanTree)
			maps.Copy(tree, tt.add)
			got := strings.Join(check(t, tree), "\n")
			if tt.want == "" && got != "" {
				t.Errorf("refused:\n%s", got)
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("want a violation with %q, got:\n%s", tt.want, got)
			}
		})
	}
}

// TestInternalUseNeedsMains: while there are no mains yet, nothing is said about
// how often a package of internal/ is used.
func TestInternalUseNeedsMains(t *testing.T) {
	tree := map[string]string{"internal/ring/r.go": src("ring")}
	if got := check(t, tree); len(got) != 0 {
		t.Errorf("refused: %v", got)
	}
}

// check writes tree into a folder and returns its violations.
func check(t *testing.T, tree map[string]string) []string {
	t.Helper()
	root := t.TempDir()
	for name, content := range tree {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return violations(files)
}
