// Package auth says who may do what in the Cloud Controller: one table of
// actions and the roles that may do them (table.go), and the [Access] of one
// user, made from the token's scopes and the user's roles.
//
// The rule for answers: what the user may not read does not exist for them
// (404); what they may read but not change is forbidden (403).
package auth
