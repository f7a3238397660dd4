// Package lifecycle stages an app: it unpacks the package, has buildpacks
// detect, supply, finalize and release, and packs the droplet. It runs as the
// app's user and trusts nothing that it reads: packages, buildpacks and build
// caches are strangers' work.
//
// It holds the contract of Cloud Foundry's buildpack lifecycle; see
// docs/user/buildpacks.md.
package lifecycle
