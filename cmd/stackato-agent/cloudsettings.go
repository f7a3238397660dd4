package main

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/controller/api"
)

// settings reads what operators set with "kato config".
type settings struct{ cluster *cluster.Controller }

// text returns a setting that is a string, "" if it is not set.
func (s settings) text(key string) string {
	var out string
	if json.Unmarshal(s.cluster.Setting(key), &out) != nil {
		return ""
	}
	return out
}

// certificates are the authorities that containers trust beside their node's:
// the operator's, and those of the routers, through which apps call each other.
func (s settings) certificates() string {
	own := s.text(agent.SettingCertificates)
	if own != "" && !strings.HasSuffix(own, "\n") {
		own += "\n"
	}
	return own + s.cluster.RouterAuthorities()
}

// number returns a setting that is a whole number.
func (s settings) number(key string) int {
	var out int
	if json.Unmarshal(s.cluster.Setting(key), &out) != nil {
		return 0
	}
	return out
}

// rateLimits implements api.Config.RateLimits.
func (s settings) rateLimits() api.RateLimits {
	return api.RateLimits{User: s.number(agent.SettingAPIRate), Address: s.number(agent.SettingAPIRateAnonymous)}
}

// image is the image that apps of a stack are staged and run in.
func (s settings) image(string) string { return s.text(agent.SettingStackImage) }

// zones lists the placement zones that DEAs are in.
func (c cloudNodes) zones() []string {
	out := []string{}
	for _, n := range c.with(node.NewRoleSet(node.DEA)) {
		if len(n.PlacementZones) == 0 {
			out = append(out, node.DefaultZone)
		}
		out = append(out, n.PlacementZones...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// sealer implements state.Sealer with the cluster's sealing ring.
type sealer struct{ env agent.ControllerEnv }

// Seal implements state.Sealer.
func (s sealer) Seal(plain []byte, context string) ([]byte, error) {
	return s.env.Seal(plain, "cf:"+context), nil
}

// Open implements state.Sealer.
func (s sealer) Open(sealed []byte, context string) ([]byte, error) {
	return s.env.Open(sealed, "cf:"+context)
}

// firstAdmin implements uaa.FirstAdmin.
type firstAdmin struct{ cluster *cluster.Controller }

// FirstAdmin implements uaa.FirstAdmin.
func (f firstAdmin) FirstAdmin() (userName, hash string, ok bool) {
	a, ok := f.cluster.FirstAdmin()
	return a.Username, a.Hash, ok
}
