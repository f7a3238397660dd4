package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/agent/node"
)

// MaxMetaSize is the most bytes that one member's encoded metadata may have:
// memberlist's own limit, because metadata travels in single UDP packets.
const MaxMetaSize = 512

const (
	metaVersion = 1
	maxName     = 63 // bytes of name and of zone: a DNS label
	maxVersion  = 64 // bytes of the version string

	flagLeaving = 1 << 0
)

// Meta is what a member says of itself. It is a claim for display, not a
// proof: any holder of the gossip key can say anything.
type Meta struct {
	// ClusterID is the UUID of the cluster. Filled in from Config.
	ClusterID string `json:"cluster_id"`
	// ID is the node's identity. Filled in from Config.
	ID node.ID `json:"id"`
	// Name is the display name, at most 63 bytes. Filled in from Config.
	Name string `json:"name"`
	// Roles is the role set that the node runs now. Bits of roles that this
	// release does not know are kept.
	Roles node.RoleSet `json:"roles"`
	// Generation is the generation of that role set in the nodes table.
	Generation uint64 `json:"generation"`
	// Version is the release of the agent, at most 64 bytes.
	Version string `json:"version"`
	// Zone is the availability zone, at most 63 bytes.
	Zone string `json:"zone"`
	// Address is the cluster address. It may be the zero Addr.
	Address netip.Addr `json:"address"`
	// RPCPort is the TCP port of the agent's RPC, 0 when it has none yet.
	RPCPort uint16 `json:"rpc_port"`
	// Started is when this run of the member began, in whole milliseconds.
	// It tells a restart from an update. Filled in.
	Started time.Time `json:"started"`
	// Leaving is true once the member has said that it goes on purpose.
	// Filled in.
	Leaving bool `json:"leaving"`
}

// MarshalBinary encodes m in the format of DESIGN.md. It fails on a field that
// is too long or not well-formed, and on anything over [MaxMetaSize].
func (m Meta) MarshalBinary() ([]byte, error) {
	cluster, err := uuid.Parse(m.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("gossip metadata: cluster id %.40q is not a UUID", m.ClusterID)
	}
	id, err := uuid.Parse(string(m.ID))
	if err != nil {
		return nil, fmt.Errorf("gossip metadata: node id %.40q is not a UUID", m.ID)
	}
	var flags byte
	if m.Leaving {
		flags |= flagLeaving
	}
	started := uint64(0)
	if !m.Started.IsZero() {
		started = uint64(m.Started.UnixMilli())
	}
	b := make([]byte, 0, 160)
	b = append(b, metaVersion, flags)
	b = append(b, cluster[:]...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Roles))
	b = binary.BigEndian.AppendUint64(b, m.Generation)
	b = binary.BigEndian.AppendUint64(b, started)
	b = binary.BigEndian.AppendUint16(b, m.RPCPort)
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"address", string(m.Address.AsSlice()), 16},
		{"name", m.Name, maxName},
		{"zone", m.Zone, maxName},
		{"version", m.Version, maxVersion},
	} {
		if len(f.value) > f.limit {
			return nil, fmt.Errorf("gossip metadata: %s has %d bytes, at most %d fit", f.name, len(f.value), f.limit)
		}
		b = append(b, byte(len(f.value)))
		b = append(b, f.value...)
	}
	if len(b) > MaxMetaSize { // cannot happen with the limits above; kept for the day they change
		return nil, fmt.Errorf("gossip metadata has %d bytes, at most %d fit", len(b), MaxMetaSize)
	}
	return b, nil
}

var errMetaShort = errors.New("gossip metadata is cut short")

// UnmarshalBinary decodes what [Meta.MarshalBinary] wrote. Of a version newer
// than this release it reads the fields it knows: new versions only append.
func (m *Meta) UnmarshalBinary(b []byte) error {
	if len(b) > MaxMetaSize {
		return fmt.Errorf("gossip metadata has %d bytes, at most %d are read", len(b), MaxMetaSize)
	}
	const fixed = 2 + 16 + 16 + 4 + 8 + 8 + 2
	if len(b) < fixed {
		return errMetaShort
	}
	version, flags := b[0], b[1]
	if version < 1 {
		return fmt.Errorf("gossip metadata has version %d, which never existed", version)
	}
	out := Meta{
		ClusterID:  uuid.UUID(b[2:18]).String(),
		ID:         node.ID(uuid.UUID(b[18:34]).String()),
		Roles:      node.RoleSet(binary.BigEndian.Uint32(b[34:])),
		Generation: binary.BigEndian.Uint64(b[38:]),
		RPCPort:    binary.BigEndian.Uint16(b[54:]),
		Leaving:    flags&flagLeaving != 0,
	}
	started := binary.BigEndian.Uint64(b[46:])
	if started > 1<<53 {
		return fmt.Errorf("gossip metadata: start time %d is out of range", started)
	}
	if started > 0 {
		out.Started = time.UnixMilli(int64(started)).UTC()
	}
	var address string
	rest := b[fixed:]
	for _, f := range []struct {
		to    *string
		limit int
	}{{&address, 16}, {&out.Name, maxName}, {&out.Zone, maxName}, {&out.Version, maxVersion}} {
		if len(rest) == 0 || int(rest[0]) > len(rest)-1 {
			return errMetaShort
		}
		n := int(rest[0])
		if n > f.limit {
			return fmt.Errorf("gossip metadata: a field has %d bytes, at most %d are read", n, f.limit)
		}
		*f.to, rest = string(rest[1:1+n]), rest[1+n:]
	}
	if version == metaVersion && len(rest) > 0 {
		return fmt.Errorf("gossip metadata has %d bytes too many", len(rest))
	}
	if address != "" {
		a, ok := netip.AddrFromSlice([]byte(address))
		if !ok {
			return fmt.Errorf("gossip metadata: an address of %d bytes", len(address))
		}
		out.Address = a
	}
	*m = out
	return nil
}
