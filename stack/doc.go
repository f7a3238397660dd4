// Package stack holds the definition of the images that apps are staged and
// run in: Debian, by mmdebstrap, with the user vcap and Cloud Foundry's
// directories. scripts/stack makes an image of it. The package itself holds
// nothing but its test.
package stack
