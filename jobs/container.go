package jobs

import (
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Where the node's fence is in a container: a host volume of the Nomad client.
const (
	Volume      = "stackato"
	volumeMount = "/stackato"

	launcher = volumeMount + "/bin/stackato-launcher"
	stager   = volumeMount + "/bin/stackato-stager"
)

// Port is what an app listens on in its container, PortLabel the name of the
// port of the node that leads there.
const (
	Port      = 8080
	PortLabel = "http"
	// hostNetwork of the Nomad client is the node's cluster address.
	hostNetwork = "cluster"
)

// Resolver is where containers ask for names: an address of their own node, the
// same on every one, which knows the cluster's names (agent/resolver). While
// nobody answers there they ask the node's own resolver, which is the
// metadata "resolver" of the node's Nomad client.
const (
	Resolver         = "169.254.53.53"
	resolverFallback = "${meta.resolver}"
)

const (
	// pids bounds processes and threads of a container, files the open files
	// of one process (Cloud Foundry's limit).
	pids  = 1024
	files = 16384
	// logSize is how much output Docker keeps of a container, twice. The
	// node's apptail reads it as it comes.
	logSize = "5m"

	minDiskMB = 16 // Nomad refuses less than 10
)

// killTimeout is the time from SIGTERM to SIGKILL: routers let go of the
// instance (5 s at most, and what that takes on the way), the app ends by
// itself (10 s as in Cloud Foundry), what is left is killed.
const killTimeout = 20 * time.Second

// capabilities are what the first process of a container needs to give itself
// up: to own the app's files, to become and signal the app's user, and to empty
// the bounding set before.
var capabilities = []string{"setuid", "setgid", "setpcap", "chown", "kill"}

// Size of a container.
type Size struct {
	MemoryMB int // hard limit
	DiskMB   int // for placement; the limit is held by the node's fence
}

// container is what all jobs have in common.
type container struct {
	image, entrypoint string
	labels            map[string]string
	size              Size
	port              bool
}

// config is the configuration of the Docker driver.
func (c container) config() map[string]any {
	out := map[string]any{
		"image":        c.image,
		"entrypoint":   []string{c.entrypoint},
		"labels":       []map[string]string{literal(c.labels)},
		"cap_drop":     []string{"all"},
		"dns_servers":  []string{Resolver, resolverFallback},
		"cap_add":      capabilities,
		"security_opt": []string{"no-new-privileges"},
		"pids_limit":   pids,
		"ulimit":       []map[string]string{{"nofile": strconv.Itoa(files)}},
		"logging": []map[string]any{{
			"type":   "json-file",
			"config": []map[string]string{{"max-size": logSize, "max-file": "2"}},
		}},
	}
	if c.port {
		out["ports"] = []string{PortLabel}
	}
	return out
}

// literal keeps Nomad from putting something in place of ${…} in what
// developers named.
func literal(labels map[string]string) map[string]string {
	out := make(map[string]string, len(labels))
	for k, v := range labels {
		out[k] = strings.ReplaceAll(v, "${", "_{")
	}
	return out
}

func (c container) task() *api.Task {
	return &api.Task{
		Name: TaskName, Driver: "docker", Config: c.config(),
		User: "0", // root, whatever the image says; see capabilities
		Resources: &api.Resources{
			CPU: ptr(shares(c.size.MemoryMB)), MemoryMB: ptr(max(c.size.MemoryMB, 10)),
		},
		VolumeMounts: []*api.VolumeMount{{
			Volume: ptr(Volume), Destination: ptr(volumeMount), ReadOnly: ptr(true), PropagationMode: ptr("private"),
		}},
		KillSignal: "SIGTERM", KillTimeout: ptr(killTimeout),
		// Nomad's collection costs two processes an instance.
		LogConfig: &api.LogConfig{Disabled: ptr(true), MaxFiles: ptr(1), MaxFileSizeMB: ptr(1)},
	}
}

func (c container) group(count int) *api.TaskGroup {
	g := &api.TaskGroup{
		Name: ptr(Group), Count: ptr(count),
		Tasks:         []*api.Task{c.task()},
		EphemeralDisk: &api.EphemeralDisk{SizeMB: ptr(max(c.size.DiskMB, minDiskMB))},
		Volumes: map[string]*api.VolumeRequest{
			Volume: {Name: Volume, Type: "host", Source: Volume, ReadOnly: true},
		},
	}
	if c.port {
		g.Networks = []*api.NetworkResource{{
			DynamicPorts: []api.Port{{Label: PortLabel, To: Port, HostNetwork: hostNetwork}},
		}}
	}
	return g
}

// shares is the weight of a container's CPU: proportional to its memory, as in
// Cloud Foundry, up to 8 GiB. It is small beside what nodes have, so that
// memory, not CPU, says how much fits.
func shares(memoryMB int) int { return min(max(memoryMB/8, 8), 1024) }

func job(id, kind string, g *api.TaskGroup, p Placement) *api.Job {
	return &api.Job{
		ID: ptr(id), Name: ptr(id), Type: ptr(kind),
		Region: ptr("global"), Namespace: ptr("default"), Datacenters: []string{"*"},
		Priority: ptr(50), Constraints: p.constraints(),
		TaskGroups: []*api.TaskGroup{g},
	}
}

func ptr[T any](v T) *T { return &v }
