package cf

import "github.com/stackato/stackato/wire/instance"

// Buildpack is an administrator's buildpack.
type Buildpack struct {
	Resource
	Metadata
	Name     string `json:"name"`
	Stack    string `json:"stack,omitempty"` // "" is any
	Position int    `json:"position"`        // from 1, in the order of detection
	Enabled  bool   `json:"enabled"`
	Locked   bool   `json:"locked,omitempty"` // bits cannot be changed
	// BuiltIn buildpacks are part of the stager and have no bits of their own
	// until some are uploaded.
	BuiltIn  bool          `json:"built_in,omitempty"`
	Filename string        `json:"filename,omitempty"`
	Bits     instance.Blob `json:"bits,omitzero"` // a zip
}

// Ready reports whether apps can be staged with the buildpack.
func (b Buildpack) Ready() bool { return b.BuiltIn || b.Bits.Digest != "" }
