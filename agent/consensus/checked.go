package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// checksumLen is the length of what seal and checkedLog add.
const checksumLen = 4

// checkedLog stores a checksum with each entry, because bbolt has none for
// its data pages, and verifies it on every read.
type checkedLog struct {
	raft.LogStore
	path string
}

// StoreLog implements raft.LogStore.
func (c *checkedLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (c *checkedLog) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		cp := *l
		cp.Extensions = binary.BigEndian.AppendUint32(append([]byte(nil), l.Extensions...), entrySum(l, l.Extensions))
		sealed[i] = &cp
	}
	return c.LogStore.StoreLogs(sealed)
}

// GetLog implements raft.LogStore.
func (c *checkedLog) GetLog(index uint64, l *raft.Log) error {
	if err := c.LogStore.GetLog(index, l); err != nil {
		return err
	}
	n := len(l.Extensions) - checksumLen
	if n < 0 || l.Index != index {
		return &CorruptError{c.path, fmt.Sprintf("entry %d is not what was written", index)}
	}
	want := binary.BigEndian.Uint32(l.Extensions[n:])
	l.Extensions = l.Extensions[:n:n]
	if n == 0 {
		l.Extensions = nil
	}
	if entrySum(l, l.Extensions) != want {
		return &CorruptError{c.path, fmt.Sprintf("the checksum of entry %d does not fit", index)}
	}
	return nil
}

// check reads every entry. Only entries up to covered, which a snapshot
// holds, may be missing: a member that got the snapshot from the leader has
// such a gap.
func (c *checkedLog) check(covered uint64) error {
	first, err := c.FirstIndex()
	if err != nil {
		return &CorruptError{c.path, err.Error()}
	}
	last, err := c.LastIndex()
	if err != nil {
		return &CorruptError{c.path, err.Error()}
	}
	if first > covered+1 {
		return &CorruptError{c.path, fmt.Sprintf("entries %d to %d are missing: no snapshot covers them", covered+1, first-1)}
	}
	for i := first; first > 0 && i <= last; i++ {
		var l raft.Log
		err := c.GetLog(i, &l)
		var corrupt *CorruptError
		switch {
		case err == nil, errors.Is(err, raft.ErrLogNotFound) && i <= covered:
		case errors.As(err, &corrupt):
			return err
		default:
			return &CorruptError{c.path, fmt.Sprintf("entry %d: %v", i, err)}
		}
	}
	return nil
}

func entrySum(l *raft.Log, ext []byte) uint32 {
	return crc(fmt.Appendf(nil, "%d %d %d %d\n", l.Index, l.Term, l.Type, len(l.Data)), l.Data, ext)
}

// checkedStable stores a checksum with each of Raft's settings: a wrong term
// or vote could give one term two leaders.
type checkedStable struct {
	raft.StableStore
	path string
}

// Set implements raft.StableStore.
func (c *checkedStable) Set(key, val []byte) error {
	return c.StableStore.Set(key, binary.BigEndian.AppendUint32(append([]byte(nil), val...), crc(key, val)))
}

// Get implements raft.StableStore.
func (c *checkedStable) Get(key []byte) ([]byte, error) {
	sealed, err := c.StableStore.Get(key)
	if err != nil {
		return nil, err
	}
	val, err := unseal(key, sealed)
	if err != nil {
		return nil, &CorruptError{c.path, err.Error()}
	}
	return val, nil
}

// SetUint64 implements raft.StableStore.
func (c *checkedStable) SetUint64(key []byte, val uint64) error {
	return c.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore.
func (c *checkedStable) GetUint64(key []byte) (uint64, error) {
	val, err := c.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, &CorruptError{c.path, fmt.Sprintf("setting %s is not a number", key)}
	}
	return binary.BigEndian.Uint64(val), nil
}

// unseal takes the checksum off a setting.
func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - checksumLen
	if n < 0 || crc(key, sealed[:n]) != binary.BigEndian.Uint32(sealed[n:]) {
		return nil, fmt.Errorf("the checksum of setting %.40q does not fit", key)
	}
	return sealed[:n:n], nil
}
