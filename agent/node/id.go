package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// ID is the identity of a node for its whole life in a cluster: a random
// UUID in its canonical text form. It is the Raft server id, the subject of
// the node's certificate and the Consul node id.
type ID string

// NewID returns a fresh random identity.
func NewID() ID { return ID(uuid.NewString()) }

// ParseID checks the text form of an identity.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return "", fmt.Errorf("node id %.40q is not a UUID in canonical form", s)
	}
	return ID(s), nil
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName checks a node name: a DNS label (RFC 1123) in lower case.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("node name %.70q is not a DNS label: use 1 to 63 of a-z, 0-9 and -, not first or last", name)
	}
	return nil
}

// CheckZone checks an availability or placement zone name.
func CheckZone(zone string) error {
	if !zonePattern.MatchString(zone) {
		return fmt.Errorf("zone %.70q: use 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'", zone)
	}
	return nil
}

var zonePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

// CheckAddress checks a node's cluster address: an IPv4 address that other
// nodes can reach it at, without a port.
func CheckAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("address %.60q is not an IP address", s)
	}
	a = a.Unmap()
	switch {
	case a.Is6():
		return a, errors.New("IPv6-only nodes are not supported yet: give the node an IPv4 address with --advertise")
	case a.IsUnspecified() || a.IsMulticast():
		return a, fmt.Errorf("address %s cannot be reached by other nodes: name one of the machine's own addresses", a)
	}
	return a, nil
}

// DefaultZone is the availability and placement zone of a node that names none.
const DefaultZone = "default"

// Node is the record of a member as the cluster knows it: the row of the
// nodes table. It is the meaning of "belongs".
type Node struct {
	ID             ID        `json:"id"`
	Name           string    `json:"name"`
	Address        string    `json:"address"` // IPv4, without port
	RPCPort        int       `json:"rpc_port"`
	GossipPort     int       `json:"gossip_port"`
	Roles          RoleSet   `json:"roles"`
	Generation     uint64    `json:"generation"` // of the role set, grows with each change
	Zone           string    `json:"zone"`       // availability zone
	PlacementZones []string  `json:"placement_zones"`
	Version        string    `json:"version"`
	JoinedAt       time.Time `json:"joined_at"`
	// StoppedRoles are assigned roles whose processes an operator stopped.
	StoppedRoles RoleSet `json:"stopped_roles"`
	// AllowedRoles are those that the node may give itself: what its join
	// token allowed. Controllers may give it any.
	AllowedRoles RoleSet `json:"allowed_roles"`
	// Leaving is set while the node hands over what it does.
	Leaving bool `json:"leaving,omitempty"`
}

// RPCAddr returns the node's agent address as host:port.
func (n Node) RPCAddr() string { return net.JoinHostPort(n.Address, strconv.Itoa(n.RPCPort)) }

// GossipAddr returns the node's gossip address as host:port.
func (n Node) GossipAddr() string { return net.JoinHostPort(n.Address, strconv.Itoa(n.GossipPort)) }
