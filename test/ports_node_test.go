package test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
	"github.com/stackato/stackato/test/doctable"
)

// TestPortsAndFilesOfNodes compares ports-and-files.md with a running
// controller that is a dea too, and with a node that is only a dea.
func TestPortsAndFilesOfNodes(t *testing.T) {
	page, err := doctable.ReadNode(portsAndFiles)
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.New(t, cluster.Options{Nodes: 2, Roles: func(i int) []string {
		return [][]string{{"controller", "router", "dea"}, {"dea"}}[i]
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := c.Form(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	roles := [][]string{
		{doctable.OnEvery, doctable.OnControllers, doctable.OnVoters, doctable.OnNomad, doctable.OnDEA, doctable.OnRouters},
		{doctable.OnEvery, doctable.OnNomad, doctable.OnDEA},
	}
	for i, n := range c.Nodes() {
		out, err := n.Exec(ctx, "ss", "-H", "-lntup")
		if err != nil {
			t.Fatal(err)
		}
		found, err := parseListening(out)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filesOf(n.HostPath(cluster.DataDir), cluster.DataDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(checkListening(page, found, n.Address, roles[i]), checkFiles(page, files, roles[i])...) {
			t.Errorf("%s: %s", n.Name, p)
		}
	}
	t.Run("health", func(t *testing.T) { healthOfNodes(ctx, t, c) })
	t.Run("info", func(t *testing.T) { infoOfNodes(ctx, t, c) })
	t.Run("first administrator", func(t *testing.T) { adminOfNodes(ctx, t, c) })
	t.Run("secrets", func(t *testing.T) { secretsOfNodes(t, c) })
	t.Run("version", func(t *testing.T) {
		out, err := c.Node(0).Exec(ctx, "stackato-agent", "version")
		info, infoErr := c.Node(0).Client().Info(ctx)
		if err != nil || infoErr != nil || strings.TrimSpace(out) != info.Version || out == "\n" {
			t.Errorf("stackato-agent version says %q, the agent %q (%v, %v)", out, info.Version, err, infoErr)
		}
	})
}

// listening is a socket that a process of the node has opened.
type listening struct {
	Protocol, Address string
	Port              int
	Process           string
}

var processName = regexp.MustCompile(`\(\("([^"]+)"`)

// parseListening reads the output of ss -H -lntup. Sockets without a process
// are not the node's: in a container Docker's resolver listens on 127.0.0.11.
func parseListening(out string) ([]listening, error) {
	var found []listening
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 6 {
			return nil, fmt.Errorf("ss printed %q", line)
		}
		m := processName.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		colon := strings.LastIndexByte(f[4], ':')
		port, err := strconv.Atoi(f[4][colon+1:])
		if err != nil {
			return nil, fmt.Errorf("ss printed %q: %w", line, err)
		}
		found = append(found, listening{f[0], f[4][:max(colon, 0)], port, m[1]})
	}
	return found, nil
}

// checkListening returns what listens and is not in the table or elsewhere
// than the table says, and what should listen and does not.
func checkListening(page doctable.Node, found []listening, address string, on []string) []string {
	var problems []string
	bind := map[string]string{doctable.BindNode: address, doctable.BindLocal: "127.0.0.1", doctable.BindAny: "*", doctable.BindNames: doctable.BindNames}
	covers := func(p doctable.Port, l listening) bool {
		return slices.Contains(on, p.On) && p.First <= l.Port && l.Port <= p.Last && slices.Contains(p.Protocols, l.Protocol)
	}
	for _, l := range found {
		i := slices.IndexFunc(page.Ports, func(p doctable.Port) bool { return covers(p, l) })
		switch {
		case i < 0:
			problems = append(problems, fmt.Sprintf("%s listens on %s:%d/%s, which has no row", l.Process, l.Address, l.Port, l.Protocol))
		case bind[page.Ports[i].Bind] != l.Address:
			problems = append(problems, fmt.Sprintf("%s listens on %s:%d/%s, which is not %s", l.Process, l.Address, l.Port, l.Protocol, page.Ports[i].Bind))
		}
	}
	for _, p := range page.Ports {
		if p.First != p.Last || !slices.Contains(on, p.On) {
			continue
		}
		for _, protocol := range p.Protocols {
			if !slices.ContainsFunc(found, func(l listening) bool { return l.Port == p.First && l.Protocol == protocol }) {
				problems = append(problems, fmt.Sprintf("nothing listens on %d/%s (%s)", p.First, protocol, p.Owner))
			}
		}
	}
	return problems
}

// filesOf lists everything below dir, itself included, as paths below as. What
// vanishes meanwhile is left out.
func filesOf(dir, as string) (map[string]fs.FileMode, error) {
	files := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		files[as+strings.TrimPrefix(path, dir)] = info.Mode().Perm()
		return nil
	})
	return files, err
}

var (
	// foreign are the folders whose content is not ours to describe.
	foreign = []string{
		"/consul/data/", "/nomad/data/", "/nomad/alloc_mounts/", "/raft/snapshots/",
		"/controller/blobs/", "/fence/blobs/", "/fence/specs/", "/fence/public/bin/", "/logs/apps/",
	}
	// sometimes are files that need not be there; their rows say when they are.
	sometimes = []string{
		"/founding.json", "/admin.txt", "/logs/agent.log", "/run/micro.pid", "/cf",
		"/fence/crashes.json", "/fence/images.json", "/router/access.log",
	}
)

// checkFiles returns what lies in the data directory and has no row, or more
// rights than its row; and rows for which there is nothing.
func checkFiles(page doctable.Node, files map[string]fs.FileMode, on []string) []string {
	var problems []string
	rows := map[string]doctable.File{}
	for _, f := range append(slices.Clone(page.Files), page.Sockets...) {
		if slices.Contains(on, f.On) && (f.Path == cluster.DataDir || strings.HasPrefix(f.Path, cluster.DataDir+"/")) {
			rows[f.Path] = f
		}
	}
	for path, mode := range files {
		inside := strings.TrimPrefix(path, cluster.DataDir)
		if slices.ContainsFunc(foreign, func(dir string) bool { return strings.HasPrefix(inside, dir) }) {
			continue
		}
		row, known := rows[path]
		switch {
		case !known:
			problems = append(problems, fmt.Sprintf("%s has no row for this kind of node", path))
		case mode&^row.Mode != 0:
			problems = append(problems, fmt.Sprintf("%s has mode %04o, more than %04o", path, mode, row.Mode))
		}
	}
	for path := range rows {
		if _, there := files[path]; !there && !slices.Contains(sometimes, strings.TrimPrefix(path, cluster.DataDir)) {
			problems = append(problems, path+" has a row and does not exist")
		}
	}
	slices.Sort(problems)
	return problems
}

// TestPortsAndFilesOfNodesCanFail shows that each difference is found.
func TestPortsAndFilesOfNodesCanFail(t *testing.T) {
	page := doctable.Node{
		Ports: []doctable.Port{
			{First: 7300, Last: 7300, Protocols: []string{"tcp"}, Owner: "rpc", Bind: doctable.BindNode, On: doctable.OnEvery},
			{First: 8300, Last: 8300, Protocols: []string{"tcp"}, Owner: "consul", Bind: doctable.BindNode, On: doctable.OnVoters},
		},
		Files: []doctable.File{
			{Path: cluster.DataDir, Mode: 0o755, On: doctable.OnEvery},
			{Path: cluster.DataDir + "/raft", Mode: 0o700, On: doctable.OnControllers},
		},
	}
	on := []string{doctable.OnEvery}
	rpc := listening{"tcp", "10.0.0.1", 7300, "stackato-agent"}
	ports := []struct {
		name, want string
		found      []listening
	}{
		{"as it should be", "", []listening{rpc}},
		{"missing", "nothing listens on 7300/tcp (rpc)", nil},
		{"unknown", "nomad listens on 10.0.0.1:4646/tcp, which has no row", []listening{rpc, {"tcp", "10.0.0.1", 4646, "nomad"}}},
		{"protocol", "listens on 10.0.0.1:7300/udp, which has no row", []listening{rpc, {"udp", "10.0.0.1", 7300, "x"}}},
		{"kind of node", "listens on 10.0.0.1:8300/tcp, which has no row", []listening{rpc, {"tcp", "10.0.0.1", 8300, "x"}}},
		{"address", "listens on *:7300/tcp, which is not node address", []listening{{"tcp", "*", 7300, "x"}}},
	}
	for _, tt := range ports {
		t.Run("ports/"+tt.name, func(t *testing.T) { expect(t, tt.want, checkListening(page, tt.found, "10.0.0.1", on)) })
	}
	files := []struct {
		name, want string
		files      map[string]fs.FileMode
	}{
		{"as it should be", "", map[string]fs.FileMode{cluster.DataDir: 0o700}},
		{"missing", cluster.DataDir + " has a row and does not exist", nil},
		{"mode", "has mode 0775, more than 0755", map[string]fs.FileMode{cluster.DataDir: 0o775}},
		{"unknown", "/x has no row", map[string]fs.FileMode{cluster.DataDir: 0o755, cluster.DataDir + "/x": 0}},
		{"kind of node", "/raft has no row", map[string]fs.FileMode{cluster.DataDir: 0o755, cluster.DataDir + "/raft": 0o700}},
	}
	for _, tt := range files {
		t.Run("files/"+tt.name, func(t *testing.T) { expect(t, tt.want, checkFiles(page, tt.files, on)) })
	}
}

// expect wants the one problem, or none if it is empty.
func expect(t *testing.T, want string, got []string) {
	t.Helper()
	text := strings.Join(got, "\n")
	if want == "" && text != "" || !strings.Contains(text, want) {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestParseListening(t *testing.T) {
	const out = `udp   UNCONN 0 0     127.0.0.11:48237      0.0.0.0:*
tcp   LISTEN 0 4096  10.2.2.13:7300      0.0.0.0:*    users:(("stackato-agent",pid=33,fd=16))
tcp   LISTEN 0 4096          *:80              *:*    users:(("router",pid=177,fd=13))
`
	got, err := parseListening(out)
	if err != nil {
		t.Fatal(err)
	}
	want := []listening{{"tcp", "10.2.2.13", 7300, "stackato-agent"}, {"tcp", "*", 80, "router"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := parseListening("something else\n"); err == nil {
		t.Error("other output was taken for sockets")
	}
}
