package serfagent

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
)

// Common are the fields that a configuration of either tool must have.
type Common struct {
	Dir, BindAddr, NodeName, NodeID string
	Server                          bool
	BootstrapExpect                 int
	GossipKeys                      []string // checked where there are any
	TLS                             TLSFiles
}

// Validate names the first field that cannot be.
func (c Common) Validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("path %q of Dir is not absolute", c.Dir)
	case c.NodeName == "" || c.NodeID == "":
		return errors.New("NodeName and NodeID are needed")
	case c.TLS.CA == "" || c.TLS.Cert == "" || c.TLS.Key == "":
		return errors.New("TLS files are needed")
	case c.BootstrapExpect < 0 || c.BootstrapExpect > 1:
		return fmt.Errorf("BootstrapExpect is %d, want 0 or 1: servers are added one by one", c.BootstrapExpect)
	case c.BootstrapExpect == 1 && !c.Server:
		return errors.New("BootstrapExpect on an agent that is no server")
	}
	if a, err := netip.ParseAddr(c.BindAddr); err != nil || !a.Is4() || a.IsUnspecified() {
		return fmt.Errorf("BindAddr %q is not an IPv4 address of this node", c.BindAddr)
	}
	for i, k := range c.GossipKeys {
		if b, err := base64.StdEncoding.DecodeString(k); err != nil || len(b) != 32 {
			return fmt.Errorf("gossip key %d is not base64 of 32 bytes", i)
		}
	}
	return nil
}
