package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

// CallerSet is a set of kinds of callers. A method names those that may call
// it; a caller is of one or more of them.
type CallerSet uint8

// The kinds of callers.
const (
	// Anonymous showed no certificate: a machine that wants to join.
	Anonymous CallerSet = 1 << iota
	// Expired is a member whose certificate has expired. It is nothing else.
	Expired
	// Member is any node of the nodes table.
	Member
	// Controller is a member with the controller role.
	Controller
	// Primary is the member that this node takes for the Primary.
	Primary
	// Self is this node itself.
	Self
)

var callerNames = []string{"anonymous", "expired", "member", "controller", "primary", "self"}

// String returns the names joined by commas.
func (c CallerSet) String() string {
	var out []string
	for i, name := range callerNames {
		if c&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// Has reports whether the sets share a kind.
func (c CallerSet) Has(o CallerSet) bool { return c&o != 0 }

// Caller is who made a call, as known when the call began.
type Caller struct {
	Kinds     CallerSet
	ID        node.ID      // "" if Anonymous
	Node      node.Node    // its record; zero if Anonymous
	Identity  pki.Identity // its certificate; zero if Anonymous
	Remote    netip.Addr   // where the connection comes from
	RequestID string
}

// label names the caller in messages.
func (c Caller) label() string {
	if c.ID == "" {
		return "anonymous"
	}
	if c.Node.Name == "" {
		return string(c.ID)
	}
	return c.Node.Name
}

// Credentials is what a node shows and trusts. All methods are called at each
// connection or call and must be safe for concurrent use: a renewal or a
// rotation takes effect without a restart.
type Credentials interface {
	// Certificate is the node's certificate with its issuer, see
	// pki.TLSCertificate. nil if the node has none.
	Certificate() *tls.Certificate
	// Roots are the trusted authorities.
	Roots() []*x509.Certificate
	// ClusterID is the cluster that this node belongs to.
	ClusterID() string
	// Now is the clock that certificates are judged by.
	Now() time.Time
}

// Members tells who belongs. It is asked at each call, so a removed node is
// refused at its next call though its certificate is still good. It must be
// quick (memory only) and safe for concurrent use.
type Members interface {
	// Lookup returns the record of a node that belongs to the cluster.
	Lookup(id node.ID) (node.Node, bool)
	// Primary returns the present Primary, "" if none is known.
	Primary() node.ID
}
