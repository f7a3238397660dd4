// Package allocdir closes what Nomad mounts into every container: directories
// of the node's disk that everybody may write to, which no limit of the
// container's disk counts, and a socket of Nomad's API.
package allocdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Mounts are the directories, as Nomad's Docker driver names them.
var Mounts = []string{"alloc", "local", "secrets"}

// Close makes the mounts below root reachable for the calling user alone. It
// is called by the first process of a container, as root with the capability
// CHOWN, before anything of the app's runs. A mount that is not there is no
// error. Closing twice does no harm.
func Close(root string) error {
	var errs []error
	for _, name := range Mounts {
		if err := closeOne(filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("close %s to the app: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// closeOne makes the directory the caller's first: who is not its owner may
// not change its mode without a further capability.
func closeOne(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("is no directory")
	}
	if err := os.Chown(path, os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	return os.Chmod(path, 0o700) //nolint:gosec // a directory that its owner alone may enter
}
