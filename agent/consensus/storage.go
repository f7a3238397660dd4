package consensus

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// keptSnapshots is how many snapshots stay on disk.
const keptSnapshots = 2

// CorruptError says that the log or a snapshot on disk cannot be trusted.
type CorruptError struct {
	Path   string
	Reason string
}

// Error names the file and the way out.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged: %s. The other controllers still have everything: on one of them run "+
		"\"kato node remove\" for this node, then here \"stackato-agent reset\" and join again with a new token", e.Path, e.Reason)
}

// storage is what Raft keeps on disk (or, without a directory, in memory).
type storage struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	close     func() error
}

// openStorage opens and checks dir; "" keeps everything in memory.
func openStorage(dir string, log hclog.Logger) (*storage, error) {
	if dir == "" {
		mem := raft.NewInmemStore()
		return &storage{mem, mem, raft.NewInmemSnapshotStore(), func() error { return nil }}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "log.db")
	bolt, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, log)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	logs := &checkedLog{LogStore: bolt, path: path}
	s := &storage{logs, bolt, snaps, bolt.Close}
	if err := s.check(dir, logs); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return s, nil
}

// openBolt opens the log file. bbolt reports some damage by a panic.
func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &CorruptError{path, fmt.Sprint(r)}
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true},
	})
	switch {
	case errors.Is(err, bbolt.ErrTimeout):
		return nil, fmt.Errorf("%s is in use: is another stackato-agent running with this data directory?", path)
	case errors.Is(err, bbolt.ErrInvalid), errors.Is(err, bbolt.ErrChecksum), errors.Is(err, bbolt.ErrVersionMismatch):
		return nil, &CorruptError{path, err.Error()}
	case err != nil && isTruncated(path):
		return nil, &CorruptError{path, err.Error()}
	}
	return store, err
}

// isTruncated reports whether a file exists but is too short for bbolt's two
// meta pages.
func isTruncated(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() < int64(4*os.Getpagesize())
}

// check reads every log entry and the newest snapshot once and verifies the
// checksums, and that no entry is missing between the two.
func (s *storage) check(dir string, logs *checkedLog) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return &CorruptError{logs.path, err.Error()}
	}
	if err := logs.verify(first); err != nil {
		return err
	}
	list, err := s.snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	var covered uint64
	if len(list) > 0 {
		if err := s.readWhole(list[0].ID); err != nil {
			return &CorruptError{filepath.Join(dir, "snapshots", list[0].ID), err.Error()}
		}
		covered = list[0].Index
	}
	if first > covered+1 {
		return &CorruptError{dir, fmt.Sprintf("log entries %d to %d are missing: no snapshot covers them", covered+1, first-1)}
	}
	return nil
}

// readWhole opens the snapshot, which verifies its checksum.
func (s *storage) readWhole(id string) error {
	_, rc, err := s.snapshots.Open(id)
	if err != nil {
		return err
	}
	return rc.Close()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumLen is the length of what checkedLog adds to an entry's extensions.
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
		sum := checksum(l, l.Extensions)
		cp.Extensions = append(append([]byte(nil), l.Extensions...), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		sealed[i] = &cp
	}
	return c.LogStore.StoreLogs(sealed)
}

// GetLog implements raft.LogStore.
func (c *checkedLog) GetLog(index uint64, l *raft.Log) (err error) {
	defer func() {
		if r := recover(); r != nil { // bbolt, on a damaged page
			err = &CorruptError{c.path, fmt.Sprint(r)}
		}
	}()
	if err := c.LogStore.GetLog(index, l); err != nil {
		return err
	}
	n := len(l.Extensions) - checksumLen
	if n < 0 || l.Index != index {
		return &CorruptError{c.path, fmt.Sprintf("entry %d is not what was written", index)}
	}
	e := l.Extensions[n:]
	want := uint32(e[0])<<24 | uint32(e[1])<<16 | uint32(e[2])<<8 | uint32(e[3])
	l.Extensions = l.Extensions[:n:n]
	if n == 0 {
		l.Extensions = nil
	}
	if checksum(l, l.Extensions) != want {
		return &CorruptError{c.path, fmt.Sprintf("the checksum of entry %d does not fit", index)}
	}
	return nil
}

// verify reads all entries from first on.
func (c *checkedLog) verify(first uint64) error {
	last, err := c.LastIndex()
	if err != nil {
		return &CorruptError{c.path, err.Error()}
	}
	for i := first; first > 0 && i <= last; i++ {
		var l raft.Log
		if err := c.GetLog(i, &l); err != nil {
			var corrupt *CorruptError
			if errors.As(err, &corrupt) {
				return err
			}
			return &CorruptError{c.path, fmt.Sprintf("entry %d: %v", i, err)}
		}
	}
	return nil
}

func checksum(l *raft.Log, ext []byte) uint32 {
	h := crc32.New(castagnoli)
	fmt.Fprintf(h, "%d %d %d %d\n", l.Index, l.Term, l.Type, len(l.Data))
	h.Write(l.Data)
	h.Write(ext)
	return h.Sum32()
}
