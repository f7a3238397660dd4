// Package pki makes and checks the cluster's certificates: two authorities
// (one for the nodes, one for what apps show), node certificates and the rules
// that say which node a certificate names.
//
// A node is named by one URI in its certificate,
// spiffe://<cluster id>/node/<node id>. DNS names and addresses are there for
// Consul, Nomad and their tools; nothing in this code base trusts them.
//
// The package is pure: it reads no clock and no file. The time is an argument
// everywhere, so that a cluster that was switched off for months can be
// tested. Keys are ECDSA P-256; certificate requests may also carry Ed25519.
package pki

import "time"

const (
	// BackDate is how far certificates are dated back, so that a node with
	// a slow clock accepts them at once.
	BackDate = 5 * time.Minute
	// Lifetime is how long node certificates last if nothing else is asked.
	Lifetime = 30 * 24 * time.Hour
	// CALifetime is how long an authority lasts.
	CALifetime = 10 * 365 * 24 * time.Hour
	// caBackDate is larger than BackDate: what an authority signs must not
	// begin before itself, also if another node with a slower clock signs.
	caBackDate = time.Hour
	// maxPEM bounds every PEM text that is read, in bytes.
	maxPEM = 64 << 10
	// maxCSR bounds a certificate request, in bytes of PEM.
	maxCSR = 8 << 10
)
