package inspect

import (
	"context"
	"fmt"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/supervise"
)

// minDocker is the oldest Docker Engine that works: Debian 12's.
var minDocker = supervise.Version{Major: 20, Minor: 10}

func (env Env) docker(ctx context.Context) []local.Finding {
	switch {
	case !env.Self.Roles.RunsNomadClient():
		return ok("this node's roles need no Docker Engine")
	case env.Docker == nil:
		return env.nothing()
	}
	i, err := env.Docker(ctx)
	if err != nil {
		return failed("start it: systemctl start docker (or scripts/docker where no init system runs); Nomad notices by itself", "%v", err)
	}
	var out []local.Finding
	v, err := supervise.ParseVersion(i.Version)
	switch {
	case err != nil:
		out = append(out, warned("see: docker version", "the Docker Engine has a version that cannot be read: %.40q", i.Version)...)
	case v.Before(minDocker):
		out = append(out, failed("install docker.io of Debian 12, or a newer engine", "Docker Engine %s is older than %d.%d", i.Version, minDocker.Major, minDocker.Minor)...)
	}
	if i.StorageDriver != "overlay2" {
		out = append(out, warned(`set "storage-driver": "overlay2" in /etc/docker/daemon.json and restart docker (its images are made anew)`,
			"the storage driver is %s, not overlay2: containers start slowly and fill the disk", i.StorageDriver)...)
	}
	if !i.MemoryLimit {
		out = append(out, failed("enable the memory controller of cgroups, see: kato inspect kernel", "the Docker Engine cannot limit memory")...)
	}
	if !i.IPv4Forwarding {
		out = append(out, failed("switch it on: sysctl -w net.ipv4.ip_forward=1", "the Docker Engine says that IPv4 forwarding is off")...)
	}
	if env.Image != nil {
		if err := env.Image(ctx); err != nil {
			out = append(out, failed("on a machine that has it: docker save IMAGE | ssh root@NODE docker load; or name one that is here: "+
				"kato config set --string cloud/stack_image IMAGE", "no app can be staged or started here: %v", err)...)
		}
	}
	if u, err := usageOf(i.RootDir); err == nil {
		for _, f := range judgeUsage(i.RootDir, u) {
			if f.Status != local.FindingOK {
				out = append(out, f)
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	return ok("%s", fmt.Sprintf("Docker Engine %s, API %s, %s, cgroup v%s by %s", i.Version, i.APIVersion, i.StorageDriver, i.CgroupVersion, i.CgroupDriver))
}
