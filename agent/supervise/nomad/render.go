package nomad

import (
	"encoding/json"
	"fmt"
)

type object = map[string]any

// Render returns the configuration file. The same Config gives the same bytes.
func Render(c Config) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	out := object{
		"name":       c.NodeName,
		"region":     c.Region,
		"datacenter": c.Datacenter,
		"data_dir":   c.dataDir(),
		"bind_addr":  c.BindAddr,
		"addresses":  object{"http": "127.0.0.1", "rpc": c.BindAddr, "serf": c.BindAddr},
		"advertise": object{
			"http": fmt.Sprintf("127.0.0.1:%d", c.Ports.HTTP),
			"rpc":  fmt.Sprintf("%s:%d", c.BindAddr, c.Ports.RPC),
			"serf": fmt.Sprintf("%s:%d", c.BindAddr, c.Ports.Serf),
		},
		"ports": object{"http": c.Ports.HTTP, "rpc": c.Ports.RPC, "serf": c.Ports.Serf},
		"tls": object{
			"rpc": true, "http": false, "verify_server_hostname": true,
			"ca_file": c.TLS.CA, "cert_file": c.TLS.Cert, "key_file": c.TLS.Key,
		},
		"acl": object{"enabled": true},
		// Several event streams and calls come from one address: the agent's.
		"limits": object{"http_max_conns_per_client": 1000, "rpc_max_conns_per_client": 1000},
		"rpc": object{
			"keep_alive_interval": c.Timing.KeepAlive.String(), "connection_write_timeout": c.Timing.WriteTimeout.String(),
		},
		"log_level": "INFO",
		// SIGTERM stops and keeps the place, SIGINT leaves.
		"leave_on_terminate":          false,
		"leave_on_interrupt":          true,
		"disable_update_check":        true,
		"disable_anonymous_signature": true,
		"enable_syslog":               false,
		"enable_debug":                false,
		"consul": []object{{
			"auto_advertise": false, "server_auto_join": false, "client_auto_join": false,
		}},
		"telemetry": object{"disable_hostname": true, "prometheus_metrics": false},
		"ui":        object{"enabled": c.Server},
		"server":    c.server(),
		"client":    c.client(),
	}
	if c.Server {
		out["autopilot"] = object{
			"cleanup_dead_servers": true, "server_stabilization_time": c.Timing.Stabilization.String(),
		}
	}
	if c.Client.Enabled {
		out["plugin"] = object{"docker": object{"config": c.docker()}}
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return append(b, '\n'), err
}

func (c Config) server() object {
	if !c.Server {
		return object{"enabled": false}
	}
	s := object{
		"enabled":                   true,
		"raft_multiplier":           c.Timing.RaftMultiplier,
		"min_heartbeat_ttl":         c.Timing.MinHeartbeatTTL.String(),
		"heartbeat_grace":           c.Timing.HeartbeatGrace.String(),
		"max_heartbeats_per_second": c.Timing.MaxHeartbeatsPerSecond,
		"failover_heartbeat_ttl":    c.Timing.FailoverHeartbeatTTL.String(),
		"enable_event_broker":       true,
		// A reader that lists and then follows must not miss what happened
		// in between.
		"event_buffer_size":  10000,
		"rejoin_after_leave": true,
		"server_join":        c.join(),
	}
	if c.BootstrapExpect > 0 {
		s["bootstrap_expect"] = c.BootstrapExpect
	}
	return s
}

func (c Config) join() object {
	return object{"retry_join": append([]string{}, c.RetryJoin...), "retry_interval": "500ms", "retry_max": 0}
}

func (c Config) client() object {
	cl := c.Client
	if !cl.Enabled {
		return object{"enabled": false}
	}
	out := object{
		"enabled":           true,
		"network_interface": cl.Interface,
		"host_network":      object{HostNetwork: object{"cidr": c.BindAddr + "/32"}},
		"meta":              cl.Meta,
		"max_kill_timeout":  cl.MaxKillTimeout.String(),
		"no_host_uuid":      true,
		"options": object{
			"driver.allowlist":     "docker",
			"fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean,consul,vault",
		},
	}
	if !c.Server { // else the server in the same process is used
		out["server_join"] = c.join()
	}
	if len(cl.HostVolumes) > 0 {
		vols := object{}
		for name, v := range cl.HostVolumes {
			vols[name] = object{"path": v.Path, "read_only": v.ReadOnly}
		}
		out["host_volume"] = vols
	}
	r := object{}
	put := func(o object, key string, n int) {
		if n > 0 {
			o[key] = n
		}
	}
	put(r, "cpu", cl.Reserved.CPU)
	put(r, "memory", cl.Reserved.Memory)
	put(r, "disk", cl.Reserved.Disk)
	if cl.Reserved.Ports != "" {
		r["reserved_ports"] = cl.Reserved.Ports
	}
	if len(r) > 0 {
		out["reserved"] = r
	}
	put(out, "memory_total_mb", cl.MemoryTotal)
	put(out, "cpu_total_compute", cl.CPUTotal)
	if cl.CgroupParent != "" {
		out["cgroup_parent"] = cl.CgroupParent
	}
	return out
}

// docker is the configuration of the Docker driver.
func (c Config) docker() object {
	d := object{
		"allow_privileged":       false,
		"volumes":                object{"enabled": false},
		"disable_log_collection": true,
		"pull_activity_timeout":  "5m",
		"gc": object{
			// Else the stack image goes with the last instance on a node.
			"image":     false,
			"container": true,
			"dangling_containers": object{
				"enabled": !c.Client.SharedEngine, "period": "5m", "creation_grace": "5m",
			},
		},
	}
	if c.Client.DockerEndpoint != "" {
		d["endpoint"] = c.Client.DockerEndpoint
	}
	return d
}
