// Package api is the Cloud Controller's v3 API, as Cloud Foundry's clients use
// it: one file for each resource. A resource's file holds its route list, its
// handlers and its JSON; rows come from controller/state, permissions from
// controller/auth.
//
// A handler returns a response or an error; *cf.Error is shown as it is,
// everything else is logged and shown as CF-UnknownError. What a user may not
// see is "not found" (404), what they see but may not change is "not
// authorized" (403). docs/api.md is generated from the route lists.
package api
