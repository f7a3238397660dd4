package serfagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/stackato/stackato/internal/atomicfile"
)

// TLSFiles are paths of PEM files. The process reads them again on SIGHUP.
type TLSFiles struct{ CA, Cert, Key string }

// WriteConfig writes a configuration file (0600) unless it is there with that
// content, and reports whether it has.
func WriteConfig(path string, content []byte) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, atomicfile.Write(path, content, 0o600)
}

// WriteKeyring writes gossip keys, the primary first, unless they are there,
// and makes the directory (0700). The format is Serf's: a JSON list.
func WriteKeyring(path string, keys []string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	var old []string
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &old) == nil && slices.Equal(old, keys) {
		return nil
	}
	b, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, b, 0o600)
}
