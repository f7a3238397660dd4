// Package fence drives the Docker Engine of a node. It is the only importer of
// the Docker client; no type of it appears in the API.
//
// For now it tells what engine there is. Containers of apps and data services
// are Nomad's to start.
package fence
