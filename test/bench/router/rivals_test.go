package router

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ours is the router in a process of its own, fed by a controller in another one.
type ours struct{ router, controller *process }

func (*ours) name() string { return "stackato" }

func (o *ours) start(b *testing.B, app string, routes int) (string, func() []int) {
	cluster := writeCluster(b)
	o.controller = startSelf(b, "controller", fmt.Sprint(cluster, " ", app, " ", routes))
	o.router = startSelf(b, "router", cluster+" "+o.controller.address)
	return o.router.address, func() []int { return []int{o.router.pid} }
}

func (o *ours) add(b *testing.B, _, host string) {
	if _, err := fmt.Fprintln(o.controller.orders, host); err != nil {
		b.Fatal(err)
	}
}

// none is the app alone: what app and load cost.
type none struct{}

func (none) name() string { return "none" }
func (none) start(_ *testing.B, app string, _ int) (string, func() []int) {
	return app, func() []int { return nil }
}
func (none) add(*testing.B, string, string) {}

// nginx has the routes in a map file, and an access log, as ours has.
type nginx struct {
	dir string
	cmd *exec.Cmd
}

func (*nginx) name() string { return "nginx" }

func (n *nginx) start(b *testing.B, app string, routes int) (string, func() []int) {
	program := lookPath(b, "nginx")
	n.dir = b.TempDir()
	address := freePort(b)
	n.writeMap(b, app, routes, "")
	config := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  access_log %[1]s/access.log combined buffer=64k flush=1s;
  keepalive_requests 1000000; map_hash_max_size 262144; map_hash_bucket_size 128;
  map $host $app { include %[1]s/routes.map; }
  upstream bench { server %[2]s; keepalive 64; keepalive_requests 1000000; }
  server { listen %[3]s; location / {
    if ($app = "") { return 404; }
    proxy_pass http://$app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id;
  } }
}
`, n.dir, app, address)
	n.cmd = run(b, program, filepath.Join(n.dir, "nginx.conf"), config, "-e", n.dir+"/error.log", "-c")
	return address, func() []int { return family(n.cmd.Process.Pid) }
}

func (n *nginx) writeMap(b *testing.B, _ string, routes int, extra string) {
	var s strings.Builder
	for i := range routes {
		fmt.Fprintf(&s, "%s bench;\n", hostOf(i))
	}
	if extra != "" {
		fmt.Fprintf(&s, "%s bench;\n", extra)
	}
	if err := os.WriteFile(n.dir+"/routes.map", []byte(s.String()), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (n *nginx) add(b *testing.B, _, host string) {
	f, err := os.OpenFile(n.dir+"/routes.map", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(f, "%s bench;\n", host)
	f.Close()
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		b.Fatal(err)
	}
}

// haproxy has the routes in a map that its runtime API changes.
type haproxy struct {
	dir string
	cmd *exec.Cmd
}

func (*haproxy) name() string { return "haproxy" }

func (h *haproxy) start(b *testing.B, app string, routes int) (string, func() []int) {
	program := lookPath(b, "haproxy")
	h.dir = b.TempDir()
	address := freePort(b)
	var s strings.Builder
	for i := range routes {
		fmt.Fprintf(&s, "%s bench\n", hostOf(i))
	}
	if err := os.WriteFile(h.dir+"/routes.map", []byte(s.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	config := fmt.Sprintf(`global
  nbthread 2
  stats socket %[1]s/admin.sock level admin
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
frontend front
  bind %[2]s
  use_backend %%[req.hdr(host),lower,map_str(%[1]s/routes.map)]
backend bench
  http-reuse always
  server app %[3]s
`, h.dir, address, app)
	h.cmd = run(b, program, filepath.Join(h.dir, "haproxy.cfg"), config, "-db", "-f")
	return address, func() []int { return family(h.cmd.Process.Pid) }
}

func (h *haproxy) add(b *testing.B, _, host string) {
	c, err := net.Dial("unix", h.dir+"/admin.sock")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "add map %s/routes.map %s bench\n", h.dir, host)
	if answer, _ := io.ReadAll(c); strings.TrimSpace(string(answer)) != "" {
		b.Fatalf("haproxy: %s", answer)
	}
}

// run starts a program whose last argument is its configuration file.
func run(b *testing.B, program, file, config string, args ...string) *exec.Cmd {
	b.Helper()
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), program, append(args, file)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	return cmd
}

// family returns a process and its children.
func family(pid int) []int {
	out := []int{pid}
	f, err := os.Open(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return out
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		for _, s := range strings.Fields(in.Text()) {
			if child, err := strconv.Atoi(s); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}
