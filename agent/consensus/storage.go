package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/stackato/stackato/internal/atomicfile"
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
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, log)
	if err != nil {
		return nil, err
	}
	snaps := &checkedSnapshots{files, filepath.Join(dir, "snapshots")}
	path := filepath.Join(dir, "log.db")
	if err := ensureLog(path, snaps); err != nil {
		return nil, err
	}
	if err := checkLogFile(path); err != nil {
		return nil, err
	}
	bolt, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	logs := &checkedLog{LogStore: bolt, path: path}
	covered, err := snaps.check()
	if err == nil {
		err = logs.check(covered)
	}
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return &storage{logs, &checkedStable{bolt, path}, snaps, bolt.Close}, nil
}

// ensureLog makes an empty log file, whole or not at all: an existing file
// without content is damage then, and so is a missing one beside snapshots.
func ensureLog(path string, snaps *checkedSnapshots) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	names, err := snaps.names()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return &CorruptError{path, "it is missing, and there are snapshots"}
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	bolt, err := openBolt(tmp)
	if err != nil {
		return err
	}
	if err := bolt.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// checkLogFile checks the file before bbolt opens it.
func checkLogFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // gives up the lock
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errInUse(path)
	case err != nil:
		return fmt.Errorf("lock %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkBolt(f, info.Size(), checkRecord); err != nil {
		return &CorruptError{path, err.Error()}
	}
	return nil
}

// checkRecord knows what raft-boltdb and Raft keep in which bucket.
func checkRecord(bucket string, key, value []byte) error {
	switch bucket {
	case "logs":
		if len(key) != 8 {
			return fmt.Errorf("a log entry has key %x", key)
		}
		return nil
	case "conf":
		if !slices.Contains([]string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"}, string(key)) {
			return fmt.Errorf("there is no setting %.40q", key)
		}
		_, err := unseal(key, value)
		return err
	}
	return fmt.Errorf("there is no bucket %.40q", bucket)
}

func errInUse(path string) error {
	return fmt.Errorf("%s is in use: is another stackato-agent running with this data directory?", path)
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true},
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, errInUse(path)
	}
	return store, err
}

// checkedSnapshots adds a checksum of a snapshot's own metadata, above all
// the group's members, to Raft's store of files, which has one only for the
// content.
type checkedSnapshots struct {
	*raft.FileSnapshotStore
	dir string
}

// metaSumFile lies beside Raft's meta.json and state.bin.
const metaSumFile = "meta.sum"

// Create implements raft.SnapshotStore.
func (s *checkedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, err
	}
	// Written while the directory has its temporary name: it appears whole.
	sum, err := metaSum(&raft.SnapshotMeta{Version: version, ID: sink.ID(), Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex})
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, sink.ID()+".tmp", metaSumFile), sum, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return sink, nil
}

// check verifies the newest snapshot and returns the index that it covers, 0
// if there is none. Raft's store passes over a snapshot whose metadata cannot
// be read; here that is damage.
func (s *checkedSnapshots) check() (covered uint64, err error) {
	names, err := s.names()
	if err != nil || len(names) == 0 {
		return 0, err
	}
	list, err := s.List()
	if err != nil {
		return 0, fmt.Errorf("list snapshots: %w", err)
	}
	damaged := func(name, file string, reason any) (uint64, error) {
		return 0, &CorruptError{filepath.Join(s.dir, name, file), fmt.Sprint(reason)}
	}
	readable := map[string]*raft.SnapshotMeta{}
	for _, m := range list {
		readable[m.ID] = m
	}
	for _, name := range names[max(0, len(names)-keptSnapshots):] {
		m, ok := readable[name]
		if !ok {
			return damaged(name, "meta.json", "it cannot be read")
		}
		want, err := os.ReadFile(filepath.Join(s.dir, name, metaSumFile))
		if err != nil {
			return damaged(name, metaSumFile, err)
		}
		if got, err := metaSum(m); err != nil || string(got) != string(want) {
			return damaged(name, "meta.json", "its checksum does not fit")
		}
	}
	newest := list[0]
	_, rc, err := s.Open(newest.ID) // verifies the checksum of the content
	if err != nil {
		return damaged(newest.ID, "state.bin", err)
	}
	info, err := os.Stat(filepath.Join(s.dir, newest.ID, "state.bin"))
	if err == nil && info.Size() != newest.Size {
		err = fmt.Errorf("it names %d bytes, there are %d", newest.Size, info.Size())
	}
	if err != nil {
		return damaged(newest.ID, "meta.json", errors.Join(err, rc.Close()))
	}
	return newest.Index, rc.Close()
}

// names returns the finished snapshots' directories, in the order of their
// age as far as their names tell.
func (s *checkedSnapshots) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") {
			out = append(out, e.Name())
		}
	}
	slices.SortFunc(out, func(a, b string) int { return slices.Compare(nameNumbers(a), nameNumbers(b)) })
	return out, nil
}

// nameNumbers takes a snapshot's name (term-index-milliseconds) apart.
func nameNumbers(name string) []uint64 {
	var n [3]uint64
	_, _ = fmt.Sscanf(name, "%d-%d-%d", &n[0], &n[1], &n[2]) // a strange name sorts first
	return n[:]
}

// metaSum is what metaSumFile holds.
func metaSum(m *raft.SnapshotMeta) ([]byte, error) {
	raw, err := json.Marshal([]any{m.Version, m.ID, m.Index, m.Term, m.Configuration, m.ConfigurationIndex})
	return fmt.Appendf(nil, "%08x\n", crc(raw)), err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
