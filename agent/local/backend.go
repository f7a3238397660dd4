package local

import (
	"context"
	"io"
)

// Backend is what the local API offers to operators: one method for each
// thing that kato can ask for. The agent implements it.
//
// Contract of every method:
//   - It is safe for concurrent use.
//   - It honours ctx: the server sets a deadline, and a client that goes away
//     cancels it, except in methods with a Progress that change something:
//     those run to their end or deadline.
//   - It works on an unconfigured node too, where that makes sense (Info,
//     Init, Join, Version, Health, Inspect, Groups, Roles); elsewhere it
//     returns an error with [CodeUnconfigured].
//   - "This node" is the node whose agent implements the Backend. A request
//     with --node reaches the Backend of that node (see [Backend.Forward]),
//     except where the request itself names a node: those are cluster-wide
//     commands that work also while that node is down.
//   - An error means that nothing was changed, unless the method says
//     otherwise. Errors that have a Code and a Hint method (see [Error]) are
//     shown with them; a [node.RuleError] becomes [CodeRefused]; any other
//     error is [CodeInternal] and its text is shown as it is, so it must not
//     hold secrets.
//
// Methods that may take longer than a second get a [Progress] to report to.
type Backend interface {
	InfoBackend
	MemberBackend
	NodeBackend
	RoleBackend
	ProcessBackend
	ConfigBackend
	TokenBackend
	CertificateBackend
	SecurityBackend
	ForwardBackend
}

// Progress receives the steps of a long operation, in order. It never
// blocks for long and is never nil. It may be called from one goroutine at a
// time only, and not after the method returned.
type Progress func(Step)

// InfoBackend answers what a node is and how it fares. Nothing here changes
// anything.
type InfoBackend interface {
	// Info describes this node and its cluster, from local knowledge: it
	// answers also without a Primary.
	Info(ctx context.Context) (Info, error)
	// Version returns the releases that run on this node.
	Version(ctx context.Context) (Version, error)
	// Health returns nil if this node can do its duty now, else an error
	// that says what is missing. Cheap: made for polling.
	Health(ctx context.Context) error
	// Status asks nodes for their roles' state, all at once, by RPC with a
	// deadline of 1.5 s each. With all, every node; else only this one. A
	// node that does not answer is a NodeStatus with an Error, never an
	// error of Status.
	Status(ctx context.Context, all bool) (Status, error)
	// Inspect runs the self-diagnosis of this node: clock, disk, ports,
	// Docker, versions, certificates, quorum. Checks are independent: a
	// failed check is a Finding, never an error. names limits the checks
	// (empty: all); an unknown name is CodeNotFound.
	Inspect(ctx context.Context, names []string, p Progress) ([]Finding, error)
}

// MemberBackend makes this node a member of a cluster, or takes it out.
type MemberBackend interface {
	// Init makes this unconfigured node the first of a new cluster. A node
	// with data refuses (CodeRefused).
	Init(ctx context.Context, r InitRequest, p Progress) (InitResult, error)
	// Join makes this unconfigured node a member of an existing cluster.
	Join(ctx context.Context, r JoinRequest, p Progress) (JoinResult, error)
	// Leave takes this node out of its cluster: a voter hands over first.
	// Refuses to break quorum or to remove the last controller unless
	// r.Force.
	Leave(ctx context.Context, r LeaveRequest, p Progress) error
}

// NodeBackend reads and changes the nodes table.
type NodeBackend interface {
	// Nodes returns every member, sorted by name.
	Nodes(ctx context.Context) ([]NodeView, error)
	// NodeRemove takes another node out of the cluster, also one that is
	// gone for good. It refuses when the node is still reachable (it should
	// detach by itself) or when quorum would break, unless r.Force.
	NodeRemove(ctx context.Context, r NodeRemoveRequest, p Progress) error
	// NodeSetZone sets the availability zone of r.Node ("" is this node).
	NodeSetZone(ctx context.Context, r ZoneRequest) (NodeView, error)
	// PlacementZones adds, removes or (with neither) returns the placement
	// zones of r.Node ("" is this node). Adding a zone that is there, or
	// removing one that is not, is a success without change.
	PlacementZones(ctx context.Context, r PlacementZonesRequest) (PlacementZones, error)
}

// RoleBackend reads and changes which node carries which role.
type RoleBackend interface {
	// Roles returns every role that this release knows, in its order, with
	// the nodes that carry it.
	Roles(ctx context.Context) ([]RoleView, error)
	// Groups returns built-in and custom groups, sorted by name. The custom
	// ones are read from this node's role_groups.yml at each call; a bad
	// file is an error with CodeRefused that names file, line and name.
	Groups(ctx context.Context) ([]GroupView, error)
	// ChangeRoles changes the roles of r.Node ("" is this node) by one
	// replicated command. [RoleChange.Apply] computes the wanted set.
	// Roles whose processes this release does not ship are assigned and
	// named in the result's Warnings.
	ChangeRoles(ctx context.Context, r RoleChange, p Progress) (RoleChangeResult, error)
}

// ProcessBackend looks after the processes of this node.
type ProcessBackend interface {
	// Processes returns the supervised processes of this node, or with
	// cluster those of every node; a node that does not answer is one
	// Process with State "unknown" and an Error.
	Processes(ctx context.Context, cluster bool) ([]Process, error)
	// ProcessRestart stops and starts one process and returns when it runs
	// again. CodeNotFound if this node has no such process.
	ProcessRestart(ctx context.Context, name string, p Progress) (Process, error)
	// ProcessReady tells whether the named process ("" or "all" means each
	// one that should run) is ready now. It does not wait: clients that
	// want to wait ask again.
	ProcessReady(ctx context.Context, name string) (Readiness, error)
	// ControlRoles starts, stops or restarts roles of this node; no names
	// means every assigned role. Names may be groups. Stopping a role keeps
	// it assigned and survives a restart of the agent. A role that is not
	// assigned is CodeNotFound. Base is never stopped.
	ControlRoles(ctx context.Context, r RoleControl, p Progress) (RoleControlResult, error)
}

// ConfigBackend reads and writes the replicated settings: flat keys such as
// "cluster/max_client_upload_mb" with JSON values.
type ConfigBackend interface {
	// ConfigList returns the entries whose key is prefix or lies below it
	// ("" is all), sorted by key, known settings with their defaults
	// included. No match is an empty list.
	ConfigList(ctx context.Context, prefix string) ([]ConfigEntry, error)
	// ConfigSet writes one value and returns the entry as stored. Changing
	// the JSON type of an existing value is CodeRefused without r.Force; a
	// failed r.IfVersion is CodeConflict.
	ConfigSet(ctx context.Context, r ConfigSetRequest) (ConfigEntry, error)
	// ConfigDel removes one key: a known setting falls back to its default.
	// CodeNotFound if the key was not set.
	ConfigDel(ctx context.Context, key string) error
}

// TokenBackend manages join tokens.
type TokenBackend interface {
	// TokenCreate makes a token. Its secret appears in this one answer and
	// nowhere else.
	TokenCreate(ctx context.Context, r TokenCreateRequest) (NewToken, error)
	// TokenList returns the tokens that exist, expired and used-up ones
	// included until they are swept, newest first. Never secrets.
	TokenList(ctx context.Context) ([]Token, error)
	// TokenRevoke ends a token at once. CodeNotFound for an unknown id.
	TokenRevoke(ctx context.Context, id string) error
}

// CertificateBackend manages the certificates that routers show for the
// operator's own domains.
type CertificateBackend interface {
	// CertificateAdd checks a certificate with its chain and key and hands
	// it to the routers. A name that is taken is CodeConflict without
	// r.Replace, as is a host of another certificate; what cannot be shown
	// is CodeInvalid.
	CertificateAdd(ctx context.Context, r CertificateAddRequest) (Certificate, error)
	// CertificateList returns them by name. Never keys.
	CertificateList(ctx context.Context) ([]Certificate, error)
	// CertificateRemove takes one away: routers show their own for its hosts
	// again. CodeNotFound for an unknown name.
	CertificateRemove(ctx context.Context, name string) error
}

// SecurityBackend replaces credentials of the cluster.
type SecurityBackend interface {
	// UserResetAdmin gives the first administrator a new random password,
	// writes it to the root-only file and returns it.
	UserResetAdmin(ctx context.Context) (Credentials, error)
	// Rotate replaces one of the cluster's keys: "gossip-key", "ca" (with
	// overlap) or "sealing-key". A rotation that stops half-way leaves a
	// working cluster and may be started again.
	Rotate(ctx context.Context, what RotateWhat, p Progress) (RotateResult, error)
	// ExportSealingKeys returns the keys that seal secrets in the replicated
	// state, encrypted under a passphrase. A controller has them; on other
	// nodes it is CodeForbidden. A short passphrase is CodeInvalid.
	ExportSealingKeys(ctx context.Context, r KeyExportRequest) (KeyExport, error)
}

// ForwardBackend reaches other nodes.
type ForwardBackend interface {
	// Forward hands a request to the agent of another node (name, id or
	// address), which serves it with [Invoke] on its own handler, and
	// returns that answer. An unknown node is CodeNotFound, an unreachable
	// one CodeUnavailable. The caller closes the answer's Body.
	Forward(ctx context.Context, node string, r ForwardRequest) (ForwardResponse, error)
}

// ForwardRequest is a local API request on its way to another node. It is
// plain data: it can travel as it is over the agents' RPC.
type ForwardRequest struct {
	Method string `json:"method"`
	Path   string `json:"path"` // with query, as in "/v1/processes?cluster=true"
	Body   []byte `json:"body,omitempty"`
	// Origin tells who asked, for the audit log of the target:
	// "uid 0 on n1".
	Origin string `json:"origin"`
	// Command is the command behind it, also for the audit log.
	Command string `json:"command,omitempty"`
}

// ForwardResponse is the answer of the other node.
type ForwardResponse struct {
	Status      int
	ContentType string
	Body        io.ReadCloser // never nil
}
