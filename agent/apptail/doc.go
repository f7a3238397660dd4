// Package apptail keeps the log lines of apps on the node where they are made.
//
// A [Store] holds one bounded ring of lines per app on disk. Every node with
// the role dea, router or controller has one: for the output of instances,
// access lines (RTR) and what the API did (API). A [Tailer] follows the output
// of containers into a store, over restarts of the agent and of the Docker
// Engine.
//
// The ring of an app is a folder of segments, append-only files of records
// with a checksum. Nothing is synced: after a power loss the newest lines may
// be missing, never the order. A line's time grows strictly within the app on
// this node, which is what a reader pages by.
package apptail
