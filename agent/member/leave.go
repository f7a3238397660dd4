package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/stackato/stackato/agent/node"
)

// goodbye says that this member goes, in two steps: metadata with the leaving
// flag, because memberlist does not tell its users a member that left from one
// that died, and then memberlist's own leave message. It always lets Run end.
func (g *Gossip) goodbye(list *memberlist.Memberlist, timeout time.Duration) error {
	g.leaveMu.Lock()
	defer g.leaveMu.Unlock()
	if g.isClosed() {
		return ErrNotRunning
	}
	if g.leftAlready() {
		return nil
	}
	defer close(g.left)
	g.metaMu.Lock()
	g.leaving = true
	g.metaMu.Unlock()
	if err := g.encodeMeta(); err != nil {
		return err
	}
	end := time.Now().Add(timeout)
	err := list.UpdateNode(max(timeout/2, time.Millisecond))
	if err := errors.Join(err, list.Leave(max(time.Until(end), time.Millisecond))); err != nil {
		return fmt.Errorf("the goodbye did not spread in time, others may see a failure: %w", err)
	}
	return nil
}

func (g *Gossip) leftAlready() bool {
	select {
	case <-g.left:
		return true
	default:
		return false
	}
}

// The list of members that left is part of a full sync: it corrects the view
// of a member that was cut off while another one said goodbye.
//
//	byte    version (1)
//	uint16  count
//	count × 16 bytes node id, 8 bytes start of its run in ms
const (
	leftVersion = 1
	leftRecord  = 16 + 8
	maxLeft     = 128 // the newest
)

func (t *table) encodeLeft() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []*Member
	for _, row := range t.rows {
		if row.State == Left {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b *Member) int { return b.Since.Compare(a.Since) })
	rows = rows[:min(len(rows), maxLeft)]
	b := make([]byte, 0, 3+len(rows)*leftRecord)
	b = append(b, leftVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rows)))
	for _, row := range rows {
		id, err := uuid.Parse(string(row.ID))
		if err != nil { // ids were checked on their way in
			id = uuid.Nil
		}
		b = append(b, id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(row.Meta.Started.UnixMilli()))
	}
	return b
}

// mergeLeft reads another member's list. What it cannot read it ignores: the
// list only refines a display.
func (t *table) mergeLeft(b []byte) {
	if len(b) < 3 || b[0] != leftVersion {
		return
	}
	count := int(binary.BigEndian.Uint16(b[1:]))
	b = b[3:]
	for range min(count, maxLeft, len(b)/leftRecord) {
		id := node.ID(uuid.UUID(b[:16]).String())
		t.left(id, time.UnixMilli(int64(binary.BigEndian.Uint64(b[16:]))).UTC())
		b = b[leftRecord:]
	}
}
