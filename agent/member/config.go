package member

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/stackato/stackato/agent/node"
)

// Config is what a [Gossip] is made of. It is read once, by [New].
type Config struct {
	// ID is this node's identity: its name on the wire. Two running members
	// with one id are a conflict; the second is not let in. Required.
	ID node.ID

	// Name is the node's display name, a DNS label. Names may change, ids
	// never. Required.
	Name string

	// ClusterID is the UUID of the cluster in canonical form. Members of
	// other clusters are refused even when they hold the key. Required.
	ClusterID string

	// BindAddr is the IP address to listen on, UDP and TCP. Default
	// "0.0.0.0", which needs AdvertiseAddr. Ignored with Endpoint.
	BindAddr string

	// AdvertiseAddr is the IP address that other members are told to reach
	// this one at. Default: BindAddr, when that is one address. Ignored with
	// Endpoint.
	AdvertiseAddr string

	// Port is the UDP and TCP port. 0 lets the system choose one, which
	// suits tests only: see [Gossip.Addr]. Ignored with Endpoint.
	Port int

	// Keys is the key ring, at most [MaxKeys] keys of 16, 24 or 32 bytes. The
	// first encrypts, all decrypt. Encryption cannot be turned off: an empty
	// ring is an error. The bytes are copied and never logged.
	Keys [][]byte

	// Profile is the timing, see [Profile]. Default [LAN].
	Profile Profile

	// Meta returns what this member says of itself; ClusterID, ID, Name,
	// Started and Leaving are filled in from here. It is called by New and
	// by [Gossip.UpdateMeta], must not block and must not call the Gossip.
	// Default: an empty Meta.
	Meta func() Meta

	// Seeds returns the gossip addresses ("ip:port") of the nodes that
	// should be reachable: all rows of the nodes table. While one of them is
	// not alive in this member's view, some are contacted again, at growing
	// intervals with jitter. It is called from [Gossip.Run]'s goroutines and
	// must not block for long. Default: none, members find this one by theirs.
	Seeds func() []string

	// Retain is how long a dead or left member stays in [Gossip.Members].
	// Default 24 h. At most the newest 1024 of them stay.
	Retain time.Duration

	// Logger receives what happens. memberlist's own lines arrive on it too,
	// at most 20 a second. Default: slog.Default().
	Logger *slog.Logger

	// Endpoint replaces UDP and TCP by an in-memory [Network], for tests
	// that run several members in one process. Default: nil, the real thing.
	Endpoint *Endpoint
}

// Profile names a set of timers.
type Profile string

const (
	// LAN suits machines with round trips of some milliseconds: probe each
	// second, 500 ms for the answer, gossip each 200 ms, full sync each 30 s.
	// A crashed member is known dead after about 5 s among 3, 10 s among 100.
	LAN Profile = "lan"
	// WAN suits members across regions: probe each 5 s, 3 s for the answer,
	// gossip each 500 ms, full sync each 60 s. A crashed member is known dead
	// after about 35 s among 3.
	WAN Profile = "wan"
	// Test has short timers for members in one process. It is not a profile
	// that operators may choose.
	Test Profile = "test"
)

// ParseProfile checks a profile from a configuration file: lan or wan.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case LAN, WAN:
		return p, nil
	}
	return "", fmt.Errorf("gossip profile %.40q is unknown: use lan or wan", s)
}

// timing is what a profile stands for beyond memberlist's own settings.
type timing struct {
	dial      time.Duration // bound of one TCP connect
	rejoinMin time.Duration // first pause between attempts to reach missing seeds
	rejoinMax time.Duration // longest pause
	reclaim   time.Duration // a dead id may come back with another address after this
}

// settings returns memberlist's configuration and ours for p.
func (p Profile) settings() (*memberlist.Config, timing, error) {
	switch p {
	case LAN:
		c := memberlist.DefaultLANConfig()
		// Compression costs more CPU and garbage (64 KiB per packet) than the
		// bytes are worth on a LAN; members with and without understand each other.
		c.EnableCompression = false
		return c, timing{dial: 3 * time.Second, rejoinMin: time.Second, rejoinMax: 30 * time.Second, reclaim: 30 * time.Second}, nil
	case WAN:
		return memberlist.DefaultWANConfig(), timing{dial: 10 * time.Second, rejoinMin: 5 * time.Second, rejoinMax: 2 * time.Minute, reclaim: time.Minute}, nil
	case Test:
		c := memberlist.DefaultLANConfig()
		c.TCPTimeout = 2 * time.Second
		c.PushPullInterval = 500 * time.Millisecond
		c.ProbeInterval = 100 * time.Millisecond
		c.ProbeTimeout = 50 * time.Millisecond
		c.GossipInterval = 10 * time.Millisecond
		c.GossipToTheDeadTime = time.Second
		c.QueueCheckInterval = time.Second
		c.SuspicionMaxTimeoutMult = 2
		return c, timing{dial: time.Second, rejoinMin: 20 * time.Millisecond, rejoinMax: 200 * time.Millisecond, reclaim: 100 * time.Millisecond}, nil
	}
	return nil, timing{}, fmt.Errorf("gossip profile %.40q is unknown: use lan or wan", string(p))
}

// withDefaults returns c with defaults filled in, or the first thing wrong
// with it.
func (c Config) withDefaults() (Config, error) {
	if _, err := node.ParseID(string(c.ID)); err != nil {
		return c, fmt.Errorf("gossip: %w", err)
	}
	if err := node.CheckName(c.Name); err != nil {
		return c, fmt.Errorf("gossip: %w", err)
	}
	if u, err := uuid.Parse(c.ClusterID); err != nil || u.String() != c.ClusterID {
		return c, fmt.Errorf("gossip: cluster id %.40q is not a UUID in canonical form", c.ClusterID)
	}
	if c.Endpoint == nil {
		if err := c.checkAddresses(); err != nil {
			return c, err
		}
	}
	if c.BindAddr == "" {
		c.BindAddr = "0.0.0.0"
	}
	if c.Profile == "" {
		c.Profile = LAN
	}
	if c.Meta == nil {
		c.Meta = func() Meta { return Meta{} }
	}
	if c.Seeds == nil {
		c.Seeds = func() []string { return nil }
	}
	if c.Retain == 0 {
		c.Retain = 24 * time.Hour
	}
	if c.Retain < 0 {
		return c, errors.New("gossip: Retain is negative")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func (c Config) checkAddresses() error {
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("gossip: port %d is not between 0 and 65535", c.Port)
	}
	anyAddr := c.BindAddr == ""
	if c.BindAddr != "" {
		a, err := netip.ParseAddr(c.BindAddr)
		if err != nil {
			return fmt.Errorf("gossip: bind address %.60q is not an IP address", c.BindAddr)
		}
		anyAddr = a.IsUnspecified()
	}
	if c.AdvertiseAddr == "" {
		if anyAddr {
			return errors.New("gossip: it listens on every address, so name the one that others reach it at (advertise address)")
		}
		return nil
	}
	if _, err := node.CheckAddress(c.AdvertiseAddr); err != nil {
		return fmt.Errorf("gossip: advertise: %w", err)
	}
	return nil
}
