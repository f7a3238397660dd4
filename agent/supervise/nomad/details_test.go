package nomad

import (
	"testing"

	"github.com/hashicorp/nomad/api"
)

// checkDetails looks at what the real client made of the configuration.
func checkDetails(t *testing.T, n *node) {
	t.Helper()
	err := n.call(t.Context(), "read the node", func(a *api.Client) error {
		info, _, err := a.Nodes().Info(n.NodeID, nil)
		if err != nil {
			return err
		}
		hn := info.HostNetworks[HostNetwork]
		if hn == nil || hn.CIDR != "127.0.0.1/32" {
			t.Errorf("host networks %+v", info.HostNetworks)
		}
		if v, ok := info.HostVolumes["fence"]; !ok || v.Path != n.Dir {
			t.Errorf("host volumes %+v", info.HostVolumes)
		}
		for driver := range info.Drivers {
			if driver != "docker" {
				t.Errorf("driver %s is on", driver)
			}
		}
		for _, key := range []string{"consul.version", "vault.version", "platform.aws.instance-type"} {
			if v, ok := info.Attributes[key]; ok {
				t.Errorf("attribute %s = %s", key, v)
			}
		}
		if got := info.Attributes["driver.docker.volumes.enabled"]; got != "" {
			t.Errorf("Docker volumes: %q", got)
		}
		if got := info.Attributes["driver.docker.privileged.enabled"]; got != "" {
			t.Errorf("Docker privileged: %q", got)
		}
		if info.ReservedResources == nil || info.ReservedResources.Memory.MemoryMB != 64 {
			t.Errorf("reserved %+v", info.ReservedResources)
		}
		self, err := a.Agent().Self()
		if err != nil {
			return err
		}
		server, _ := self.Config["Server"].(map[string]any)
		for key, want := range map[string]any{
			"MinHeartbeatTTL": 2e9, "HeartbeatGrace": 5e9, "FailoverHeartbeatTTL": 35e9,
			"EventBufferSize": 1e4, "RaftMultiplier": 1.0, "MaxHeartbeatsPerSecond": 250.0,
		} {
			if server[key] != want {
				t.Errorf("server %s = %v, want %v", key, server[key], want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
