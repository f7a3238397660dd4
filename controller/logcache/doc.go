// Package logcache answers the part of log-cache's read API that cf and other
// clients use for logs: GET /api/v1/info and GET /api/v1/read/{source_id}.
//
// Lines stay on the nodes where they were made. A read asks all nodes that may
// have some at the same time and merges what came within a second: a dead node
// delays an answer, and for the next seconds not even that. The lines of a
// node that answers late are in a later answer.
//
// Formats and errors are those of code.cloudfoundry.org/go-log-cache (v2) and
// the grpc-gateway behind it.
package logcache
