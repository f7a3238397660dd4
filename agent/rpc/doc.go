// Package rpc carries calls between nodes: JSON over HTTP/2 over mutual TLS,
// and Raft's raw connections, on one port.
//
// A [Method] is declared once, with its name, its types and who may call it.
// The server registers it with [Handle], callers use [Call]. Who calls is
// known from the certificate of the connection; whether that node belongs to
// the cluster, and with which roles, is looked up at each call.
//
// The connection's protocol (ALPN) is "h2" for calls and [RaftProtocol] for
// Raft. DESIGN.md has the reasons.
package rpc

import "time"

// RaftProtocol is the ALPN name of Raft's connections.
const RaftProtocol = "stackato-raft/1"

// Limits and times that apply where a Method or Config names none.
const (
	DefaultTimeout     = 10 * time.Second // of one call
	DefaultMaxBody     = 1 << 20          // bytes of a request
	DefaultMaxResponse = 8 << 20          // bytes of a response, and of one item of a stream
	DefaultHeartbeat   = time.Second      // between heartbeats of a stream

	handshakeTimeout = 5 * time.Second
	pathPrefix       = "/rpc/v1/"
	requestIDHeader  = "Stackato-Request-Id"
	timeoutHeader    = "Stackato-Timeout-Ms"
	maxErrorBody     = 64 << 10
)
