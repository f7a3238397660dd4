// Package local is the agent's local API: HTTP over a unix socket, which
// kato speaks. It holds the server, the client, the types that both share,
// and the [Backend] interface that the agent implements.
//
// Who may use it is decided by the permissions of the socket alone: root, and
// members of the group stackato if that group exists. The caller's user id
// (SO_PEERCRED) goes into the audit log of every change.
//
// Paths are versioned (/v1/…). Short requests answer with one JSON value;
// long ones answer with a stream of JSON lines: any number of
// {"step":…}, then exactly one {"result":…} or {"error":…}.
//
// A request with the header Stackato-Node goes to that node: the server
// hands it to [Backend.Forward], and the other node serves it with [Invoke]
// on the same handler.
package local
