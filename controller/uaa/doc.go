// Package uaa is the log-in service: the part of Cloud Foundry's UAA that the
// cf client and the console use. It keeps users, clients, signing keys and
// sessions in the replicated state, and gives out access tokens: JSON Web
// Tokens signed by RS256 that last minutes, and refresh tokens that last
// weeks and are kept as hashes only.
//
// [Server] serves HTTP on every controller. [Server.Verify] is what the rest
// of the controller checks bearer tokens with. [Server.Maintain] is for the
// Primary: it makes what a new cluster lacks, and rotates keys.
//
// A token ends early when its session was revoked (log-out), when its user is
// deleted or deactivated, or gets another password.
package uaa
