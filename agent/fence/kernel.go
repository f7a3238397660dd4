package fence

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// shared are limits of the kernel that all containers of a node have in common,
// because their apps are one user or because the limit is the node's. Their
// defaults are for one machine of one owner: a few apps could use them up, and
// all others would stand still.
var shared = []struct {
	name    string
	atLeast int64
}{
	{"kernel/pid_max", 4 << 20},                 // of all processes; a container may have 1024, so 32 of them are enough for the default
	{"fs/inotify/max_user_instances", 16 << 10}, // of one user; by default 128
	{"fs/inotify/max_user_watches", 1 << 20},    // of one user
}

// RaiseLimits raises limits of the kernel that apps share to what many of them
// need; none is lowered. sys is /proc/sys. What the kernel does not have is
// left out.
func RaiseLimits(sys string) error {
	var errs []error
	for _, limit := range shared {
		if err := raise(filepath.Join(sys, limit.name), limit.atLeast); err != nil {
			errs = append(errs, fmt.Errorf("raise to %d: %w", limit.atLeast, err))
		}
	}
	return errors.Join(errs...)
}

func raise(name string, atLeast int64) error {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if now >= atLeast {
		return nil
	}
	return os.WriteFile(name, fmt.Append(nil, atLeast), 0o644)
}
