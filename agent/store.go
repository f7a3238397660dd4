package agent

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/wire/rpcerr"
)

// identity is who this node is, for its whole life in a cluster: node.json.
// Its presence means that the machine is configured.
type identity struct {
	ID        node.ID   `json:"id"`
	Name      string    `json:"name"`
	ClusterID string    `json:"cluster_id"`
	Since     time.Time `json:"since"`
}

// store reads and writes what the node keeps on disk.
type store struct{ cfg Config }

// directories that the node needs, with their modes.
func (s store) makeDirs() error {
	for dir, mode := range map[string]os.FileMode{
		s.cfg.DataDir: 0o755, s.cfg.path("run"): 0o755, s.cfg.path("pki"): 0o700, s.cfg.path("logs"): 0o750,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// identity returns who the node is; ok is false on an unconfigured machine.
func (s store) identity() (id identity, ok bool, err error) {
	data, err := os.ReadFile(s.cfg.identityFile())
	if errors.Is(err, os.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	if err := json.Unmarshal(data, &id); err != nil {
		return id, false, errDamaged(s.cfg.identityFile(), err)
	}
	return id, true, nil
}

// refuseExisting is the check that init and join make first.
func (s store) refuseExisting() error {
	id, ok, err := s.identity()
	if err != nil {
		return err
	}
	if ok {
		return rpcerr.New(rpcerr.Precondition, "%s holds the data of node %q of cluster %s already", s.cfg.DataDir, id.Name, id.ClusterID).
			WithHint("leave that cluster first: stackato-agent leave (or, if it is gone for good: stackato-agent reset)")
	}
	if entries, err := os.ReadDir(s.cfg.raftDir()); err == nil && len(entries) > 0 {
		return rpcerr.New(rpcerr.Precondition, "%s holds the state of a cluster", s.cfg.raftDir()).
			WithHint("choose another data directory, or delete it with: stackato-agent reset")
	}
	return nil
}

// assignment returns the newest assignment that was saved.
func (s store) assignment() (cluster.Assignment, error) {
	var a cluster.Assignment
	data, err := os.ReadFile(s.cfg.assignmentFile())
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, errDamaged(s.cfg.assignmentFile(), err)
	}
	return a, nil
}

func (s store) saveAssignment(a cluster.Assignment) error {
	if err := writeJSON(s.cfg.assignmentFile(), a); err != nil {
		return err
	}
	if have, err := os.ReadFile(s.cfg.caFile()); err == nil && bytes.Equal(have, a.Authorities) {
		return nil
	}
	return atomicfile.Write(s.cfg.caFile(), a.Authorities, 0o644)
}

func (s store) saveCertificate(cert []byte) error {
	return atomicfile.Write(s.cfg.certFile(), cert, 0o644)
}

func (s store) saveKey(key crypto.Signer) error {
	text, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.cfg.keyFile(), text, 0o600)
}

func (s store) key() (crypto.Signer, error) {
	text, err := os.ReadFile(s.cfg.keyFile())
	if err != nil {
		return nil, err
	}
	key, err := pki.ParseKey(text)
	if err != nil {
		return nil, errDamaged(s.cfg.keyFile(), err)
	}
	return key, nil
}

// errDamaged says that a file cannot be used, and what to do.
func errDamaged(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a backup, or remove the node on another controller (kato node remove), "+
		"then run \"stackato-agent reset\" here and join again", path, err)
}

// ring loads the sealing keys; it is nil on nodes that hold none.
func (s store) ring() (*seal.Ring, error) {
	r, err := seal.LoadFile(s.cfg.ringFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errDamaged(s.cfg.ringFile(), err)
	}
	return r, nil
}

// founding returns what a first node still has to write into Raft, nil when
// that is done.
func (s store) founding() (*cluster.Founding, error) {
	data, err := os.ReadFile(s.cfg.foundingFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := new(cluster.Founding)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, errDamaged(s.cfg.foundingFile(), err)
	}
	return f, nil
}

// wipe deletes everything that makes the machine a member; logs stay. The
// identity goes last but one: a wipe that is cut off can be repeated.
func (s store) wipe() error {
	for _, dir := range []string{s.cfg.path("nomad"), s.cfg.fenceDir()} {
		if err := unmountBelow(dir); err != nil {
			return err
		}
	}
	for _, path := range []string{
		s.cfg.raftDir(), s.cfg.path("pki"), s.cfg.path("consul"), s.cfg.path("nomad"),
		// Another cluster's routes, with higher terms, would hold those of the next one off.
		s.cfg.path("router"), s.cfg.path("controller"), s.cfg.fenceDir(), s.cfg.routerCAFile(),
		s.cfg.assignmentFile(), s.cfg.foundingFile(), s.cfg.adminFile(), s.cfg.toolsFile(), s.cfg.identityFile(),
	} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("delete %s: %w", path, err)
		}
	}
	return s.makeDirs()
}

// unmountBelow unmounts what a Nomad client has left mounted in its data
// directory (the secrets of allocations), the deepest first.
func unmountBelow(dir string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		// The fifth field is the mount point, with octal escapes for white
		// space: proc_pid_mountinfo(5). Nomad's directories have none.
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.Sort(points)
	slices.Reverse(points)
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), 0o600)
}
