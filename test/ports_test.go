package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stackato/stackato/test/doctable"
)

const portsAndFiles = "../docs/operator/ports-and-files.md"

// TestPortsAndFiles holds ports-and-files.md to what is decided about every
// node. That a running node is as the page says is tested where nodes run.
func TestPortsAndFiles(t *testing.T) {
	page, err := doctable.ReadNode(portsAndFiles)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkPortsAndFiles(page) {
		t.Errorf("%s: %s", portsAndFiles, problem)
	}
}

// checkPortsAndFiles returns what breaks a rule: whoever reaches an address of
// the node must show something, and secrets are for root alone.
func checkPortsAndFiles(page doctable.Node) []string {
	var problems []string
	for _, p := range page.Ports {
		if p.Bind == doctable.BindNode && strings.HasPrefix(p.Authenticated, "nothing") {
			problems = append(problems, fmt.Sprintf("port %d is reached by other machines and authenticates by nothing", p.First))
		}
		if p.Bind == doctable.BindAny && p.On != doctable.OnLater && p.On != doctable.OnRouters {
			problems = append(problems, fmt.Sprintf("port %d listens on every address", p.First))
		}
	}
	for _, f := range page.Files {
		secret := strings.HasSuffix(f.Path, ".keyring") || strings.HasSuffix(f.Path, "/pki") || strings.HasSuffix(f.Path, "/raft")
		if secret && f.Mode&0o077 != 0 {
			problems = append(problems, fmt.Sprintf("%s holds secrets and is open to others (%04o)", f.Path, f.Mode))
		}
	}
	for _, f := range append(page.Files, page.Sockets...) {
		if f.Mode&0o002 != 0 {
			problems = append(problems, fmt.Sprintf("%s can be written by everybody (%04o)", f.Path, f.Mode))
		}
	}
	return problems
}

// TestPortsAndFilesCanFail shows that each rule is enforced.
func TestPortsAndFilesCanFail(t *testing.T) {
	tests := []struct {
		name, want string
		page       doctable.Node
	}{
		{"open port", "authenticates by nothing", doctable.Node{Ports: []doctable.Port{
			{First: 1, Last: 1, Bind: doctable.BindNode, On: doctable.OnEvery, Authenticated: "nothing"},
		}}},
		{"every address", "listens on every address", doctable.Node{Ports: []doctable.Port{
			{First: 1, Last: 1, Bind: doctable.BindAny, On: doctable.OnEvery, Authenticated: "x"},
		}}},
		{"ring", "is open to others", doctable.Node{Files: []doctable.File{{Path: "/a/b.keyring", Mode: 0o640}}}},
		{"pki", "is open to others", doctable.Node{Files: []doctable.File{{Path: "/a/pki", Mode: 0o755}}}},
		{"writable", "written by everybody", doctable.Node{Sockets: []doctable.File{{Path: "/a", Mode: 0o666}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(checkPortsAndFiles(tt.page), "\n")
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPortsOfMicro: the script that starts a micro cloud looks first whether
// the ports that it will listen on are free, all of them.
func TestPortsOfMicro(t *testing.T) {
	page, err := doctable.ReadNode(portsAndFiles)
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(readText(t, "scripts/micro"), "\nports='")
	list, _, _ = strings.Cut(list, "'\n")
	checked := map[string]bool{}
	for port := range strings.FieldsSeq(list) {
		checked[port] = true
	}
	for _, p := range page.Ports {
		// A range is chosen from at run time; the resolver has an address of its own.
		if p.On == doctable.OnLater || p.First != p.Last || p.Bind == doctable.BindNames {
			continue
		}
		if port := fmt.Sprint(p.First); !checked[port] {
			t.Errorf("scripts/micro does not look whether port %s is free", port)
		} else {
			delete(checked, port)
		}
	}
	for port := range checked {
		t.Errorf("scripts/micro wants port %s, and %s does not know why", port, portsAndFiles)
	}
}
