package blob

import (
	"encoding/hex"
	"io/fs"
	"strconv"
)

// Resource is a file as `resource_matches` and package uploads name it.
type Resource struct {
	Checksum Checksum `json:"checksum"`
	Size     int64    `json:"size_in_bytes"`
	Path     string   `json:"path,omitempty"`
	Mode     string   `json:"mode,omitempty"` // octal
}

// Checksum is a SHA-1, hexadecimal.
type Checksum struct {
	Value string `json:"value"`
}

const defaultMode = 0o744 // as Cloud Foundry

// mode parses the file mode. The owner must be able to read and write.
func (r Resource) mode() (fs.FileMode, error) {
	if r.Mode == "" {
		return defaultMode, nil
	}
	m, err := strconv.ParseUint(r.Mode, 8, 32)
	if err != nil || m&0o600 != 0o600 {
		return 0, &InvalidError{Problem: BadMode, Path: r.Path, Reason: "file mode '" + shown(r.Mode) + "' is invalid"}
	}
	return fs.FileMode(m) & fs.ModePerm, nil
}

// clean returns the path as it will stand in the package.
func (r Resource) clean() (string, error) {
	p, err := cleanPath(r.Path)
	if err == nil && p == "." {
		err = invalid(r.Path, "this is no file's path")
	}
	if err != nil {
		e := *err.(*InvalidError) //nolint:errorlint // cleanPath and invalid make no others
		e.Problem = BadPath
		return "", &e
	}
	return p, nil
}

// matchable says whether the file can be known from an earlier package.
func (r Resource) matchable() bool {
	if r.Size < MatchFrom || len(r.Checksum.Value) != 40 {
		return false
	}
	_, err := hex.DecodeString(r.Checksum.Value)
	return err == nil
}
