// Package logs measures the way of a log line: written by a container, kept by
// its node, read through the log-cache API.
package logs
