package push

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stackato/stackato/test/bench/micro"
)

// nomad is the micro cloud's own Nomad, used without us.
type nomad struct {
	address, token string
	node           string // address that containers and artifacts are reached at
	image          string
}

// rival is a way to run the same image with nginx and the same files by Nomad
// alone: by "nomad job run" or the API call that it makes, with the files as an
// artifact, as a droplet would be, or without.
type rival struct {
	name string
	run  func(b *testing.B, job named)
	task named
}

func (n *nomad) rivals(b *testing.B) []rival {
	b.Helper()
	archive := siteArchive(b)
	fetched := nginxTask(n.image, "", serveArtifact(b, n.node, archive))
	inline := nginxTask(n.image, base64.StdEncoding.EncodeToString(archive), "")
	return []rival{
		{"nomad-job-run", n.runCommand, fetched},
		{"nomad-job-run-no-artifact", n.runCommand, inline},
		{"nomad-api-no-artifact", n.register, inline},
	}
}

// impatient gives up soon: a connection that is begun while Docker is setting
// up a container's network may wait a second for its second packet.
var impatient = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true,
	DialContext:       (&net.Dialer{Timeout: 20 * time.Millisecond}).DialContext,
}}

// runOnce returns how long a job took from its submission until 200.
func (n *nomad) runOnce(b *testing.B, r rival, events *dockerEvents) time.Duration {
	b.Helper()
	port := freePort(b, n.node)
	id := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	defer func() {
		all := n.allocations(b, id)
		n.purge(b, id)
		for _, a := range all { // the next round begins on a quiet node
			events.await(b, "destroy", "name", "app-"+a.ID)
		}
	}()
	start := time.Now()
	r.run(b, serviceJob(id, 1, port, r.task))
	awaitOK(b, impatient, "http://"+net.JoinHostPort(n.node, strconv.Itoa(port))+"/")
	return time.Since(start)
}

type named = map[string]any

// nginxTask serves the files of an archive: out of an artifact, or out of the
// command line.
func nginxTask(image, inline, artifact string) named {
	command := "exec /usr/sbin/nginx -e stderr -p /tmp -c /local/nginx.conf -g 'daemon off;'"
	if inline != "" {
		command = "mkdir -p /local && echo $SITE | base64 -d | tar -xz -C /local && " + command
	}
	task := named{
		"Name": "app", "Driver": "docker",
		"Config":      named{"image": image, "entrypoint": []string{"/bin/sh", "-c"}, "args": []string{command}, "ports": []string{"http"}},
		"Env":         map[string]string{"SITE": inline},
		"Resources":   named{"CPU": 32, "MemoryMB": 32},
		"LogConfig":   named{"Disabled": true, "MaxFiles": 1, "MaxFileSizeMB": 1},
		"KillTimeout": time.Second,
	}
	if artifact != "" {
		task["Artifacts"] = []named{{"GetterSource": artifact, "RelativeDest": "local/"}}
	}
	return task
}

// serviceJob is a job of count instances; port 0 is a port of Nomad's choice.
func serviceJob(id string, count, port int, task named) named {
	network := named{"DynamicPorts": []named{{"Label": "http", "To": 8080}}}
	if port != 0 {
		network = named{"ReservedPorts": []named{{"Label": "http", "Value": port, "To": 8080}}}
	}
	return named{
		"ID": id, "Name": id, "Type": "service", "Datacenters": []string{"*"},
		"Update": named{"MaxParallel": 0},
		"TaskGroups": []named{{
			"Name": "instance", "Count": count, "Networks": []named{network}, "Tasks": []named{task},
			"EphemeralDisk": named{"SizeMB": 20},
		}},
	}
}

func openNomad(b *testing.B, cloud *micro.Cloud) *nomad {
	b.Helper()
	n := &nomad{address: cloud.Tool("NOMAD_ADDR"), token: cloud.Tool("NOMAD_TOKEN"), image: cloud.StackImage()}
	if n.address == "" {
		b.Skip("tools.env names no Nomad")
	}
	var self struct {
		Stats map[string]map[string]string `json:"stats"`
	}
	n.call(b, http.MethodGet, "/v1/agent/self", nil, &self)
	var node struct{ Attributes map[string]string }
	n.call(b, http.MethodGet, "/v1/node/"+self.Stats["client"]["node_id"], nil, &node)
	n.node = node.Attributes["unique.network.ip-address"]
	return n
}

func (n *nomad) call(b *testing.B, method, path string, in, out any) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), patience)
	defer cancel()
	data, err := json.Marshal(in)
	must(b, err)
	req, err := http.NewRequestWithContext(ctx, method, n.address+path, bytes.NewReader(data))
	must(b, err)
	req.Header.Set("X-Nomad-Token", n.token)
	resp, err := http.DefaultClient.Do(req)
	must(b, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		b.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out != nil {
		must(b, json.NewDecoder(resp.Body).Decode(out))
	}
}

func (n *nomad) register(b *testing.B, job named) {
	b.Helper()
	n.call(b, http.MethodPost, "/v1/jobs", named{"Job": job}, nil)
}

// runCommand is register by the command that people use.
func (n *nomad) runCommand(b *testing.B, job named) {
	b.Helper()
	data, err := json.Marshal(named{"Job": job})
	must(b, err)
	cmd := exec.CommandContext(b.Context(), "nomad", "job", "run", "-detach", "-json", "-")
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+n.address, "NOMAD_TOKEN="+n.token)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("nomad job run: %v\n%s", err, out)
	}
}

// purge ends a job and waits until its containers are gone.
func (n *nomad) purge(b *testing.B, job string) {
	b.Helper()
	n.call(b, http.MethodDelete, "/v1/job/"+job+"?purge=true", nil, nil)
	for end := time.Now().Add(patience); n.running(b, job) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("job %s does not end", job)
		}
	}
}

type allocation struct{ ID, ClientStatus string }

func (n *nomad) allocations(b *testing.B, job string) (all []allocation) {
	b.Helper()
	n.call(b, http.MethodGet, "/v1/job/"+job+"/allocations", nil, &all)
	return all
}

func (n *nomad) running(b *testing.B, job string) (count int) {
	b.Helper()
	for _, a := range n.allocations(b, job) {
		if a.ClientStatus == "running" {
			count++
		}
	}
	return count
}

// siteArchive is the sample's files with a configuration of nginx.
func siteArchive(b *testing.B) []byte {
	b.Helper()
	files := fstest.MapFS{"nginx.conf": {Data: []byte(nginxConf), Mode: 0o644}}
	entries, err := os.ReadDir(filepath.Join(sample, "public"))
	must(b, err)
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(sample, "public", entry.Name()))
		must(b, err)
		files["public/"+entry.Name()] = &fstest.MapFile{Data: data, Mode: 0o644}
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	must(b, w.AddFS(files))
	must(b, w.Close())
	must(b, z.Close())
	return out.Bytes()
}

const nginxConf = `worker_processes 1;
pid /tmp/nginx.pid;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	access_log /dev/stdout;
	server { listen 8080; root /local/public; }
}
`

// serveArtifact serves an archive where Nomad can fetch it.
func serveArtifact(b *testing.B, node string, archive []byte) string {
	b.Helper()
	l, err := net.Listen("tcp", node+":0")
	must(b, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(archive) }))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	b.Cleanup(server.Close)
	return server.URL + "/site.tar.gz"
}

func freePort(b *testing.B, host string) int {
	b.Helper()
	l, err := net.Listen("tcp", host+":0")
	must(b, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
