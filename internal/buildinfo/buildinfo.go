// Package buildinfo holds what the linker stamps into the binaries.
package buildinfo

// Version is the release of this build, set with
// -ldflags "-X github.com/stackato/stackato/internal/buildinfo.Version=…".
// It is a semantic version without a leading "v".
var Version = "0.1.0-dev"
