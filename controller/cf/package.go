package cf

import "github.com/stackato/stackato/wire/instance"

// States of a package.
const (
	PackageAwaitingUpload   = "AWAITING_UPLOAD"
	PackageProcessingUpload = "PROCESSING_UPLOAD"
	PackageCopying          = "COPYING"
	PackageReady            = "READY"
	PackageFailed           = "FAILED"
	PackageExpired          = "EXPIRED"
)

// Package is an app's source: a zip.
type Package struct {
	Resource
	Metadata
	AppGUID string        `json:"app_guid"`
	Type    string        `json:"type"` // "bits"
	State   string        `json:"state"`
	Error   string        `json:"error,omitempty"`
	Blob    instance.Blob `json:"blob,omitzero"`
}
