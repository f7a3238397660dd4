package agent

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/inspect"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/staging"
)

// Platform is what nodes run beyond membership: the Cloud Controller on
// controllers, the router on routers. The daemon's main gives it to
// [Agent.UsePlatform]; a node without one is a member only.
type Platform interface {
	// Register adds the Cloud Controller's tables and commands, before the
	// replicated state is opened.
	Register(*consensus.Registry)
	// Controller and Router make the parts of this node. They start nothing.
	Controller(ControllerEnv) (CloudController, error)
	Router(RouterEnv) (Router, error)
}

// CloudController is the Cloud Controller of one controller node. What nodes
// ask for is checked against who asks: from is the calling node, proved by
// its certificate.
type CloudController interface {
	// Run serves until ctx is done.
	Run(ctx context.Context) error
	// Lead does the Primary's work until ctx, which ends with leadership, is
	// done.
	Lead(ctx context.Context, term uint64)
	// Ready is nil when the API can be used, else why not.
	Ready() error

	Instance(ctx context.Context, from node.ID, r InstanceRequest) (instance.Spec, error)
	Build(ctx context.Context, from node.ID, r BuildRequest) (staging.Spec, error)
	Blob(ctx context.Context, from node.ID, r BlobRequest) (io.ReadCloser, int64, error)
	PutDroplet(ctx context.Context, from node.ID, r UploadRequest, body io.Reader) (instance.Blob, error)
	PutCache(ctx context.Context, from node.ID, r UploadRequest, body io.Reader) (instance.Blob, error)
	Result(ctx context.Context, from node.ID, r ResultRequest) error
	// Routes sends the feed of a router until ctx is done.
	Routes(ctx context.Context, from node.ID, send func(*routing.Update) error) error

	// Differences tells what runs of apps other than was asked for.
	// It fails on a controller that is not the Primary.
	Differences(ctx context.Context) (inspect.Apps, error)
	// Placed tells other controllers where allocations are, as this node's
	// Nomad server says.
	Placed(ctx context.Context, ids []string) (map[string]instance.Placement, error)
	// HeldBlob, HoldBlob and HasBlob serve other controllers: this node's own
	// copies.
	HeldBlob(ctx context.Context, digest string) (io.ReadCloser, int64, error)
	HoldBlob(ctx context.Context, b instance.Blob, body io.Reader) error
	HasBlob(ctx context.Context, digest string) (BlobInfo, error)
}

// Router is the router of one node. Its metrics are shown with the node's.
type Router interface {
	prometheus.Collector
	Run(ctx context.Context) error
	// Withdraw takes an instance out. When it returns nil no new request
	// goes there.
	Withdraw(ctx context.Context, w routing.Withdrawal) error
	// Ready is nil when requests are served, else why not.
	Ready() error
}

// InstanceRequest asks what an allocation is started from.
type InstanceRequest struct {
	AllocID string `json:"alloc_id"`
	Kind    string `json:"kind"` // instance.KindApp or KindTask
	Process string `json:"process"`
	Version string `json:"version"`
}

// BuildRequest asks what a staging allocation works on.
type BuildRequest struct {
	AllocID string `json:"alloc_id"`
	Build   string `json:"build"`
}

// BlobRequest asks for a blob: with a build's token, or "" for a droplet that
// is to run on the asking node.
type BlobRequest struct {
	Digest string `json:"digest"`
	Token  string `json:"token,omitempty"`
}

// BlobInfo says what a controller holds.
type BlobInfo struct {
	Size int64     `json:"size"`
	Put  time.Time `json:"put,omitzero"` // when it was last put
}

// UploadRequest comes before a droplet or build cache.
type UploadRequest struct {
	Build string `json:"build"`
	Token string `json:"token"`
}

// ResultRequest reports the end of a build.
type ResultRequest struct {
	Token  string         `json:"token"`
	Result staging.Result `json:"result"`
}

// ControllerEnv is what the Cloud Controller gets from its node.
type ControllerEnv struct {
	Self      node.Node
	ClusterID string
	Domain    string
	Dir       string // for its files; made when missing
	Consensus *consensus.Node
	Cluster   *cluster.Controller
	// Topology returns the nodes as last told, and a channel that is closed
	// at the next change.
	Topology func() (Topology, <-chan struct{})
	// Listen opens the API's listener: only routers of the cluster may
	// connect (mutual TLS). APIPort is its port, the same on every node.
	Listen  func() (net.Listener, error)
	APIPort int
	// MayCall is nil while the peer of such a connection still has the role of
	// a router. It takes the nodes table and no more.
	MayCall func(tls.ConnectionState) error
	// Nomad is the address of the local Nomad API.
	Nomad string
	// Seal and Open protect secrets in the replicated state; context binds a
	// sealed value to its place.
	Seal func(plain []byte, context string) []byte
	Open func(sealed []byte, context string) ([]byte, error)
	// Nodes reaches other nodes.
	Nodes  NodeCalls
	Logs   LogStore
	Logger *slog.Logger
	Now    func() time.Time
}

// Topology is who belongs to the cluster.
type Topology struct {
	Nodes  []node.Node
	Voters []node.ID
}

// NodeCalls reaches other nodes for the Cloud Controller. Calls to this node
// itself work as well.
type NodeCalls interface {
	// States calls report with a snapshot and then changes of the instances
	// on a node, until ctx is done or the connection is lost.
	States(ctx context.Context, n node.Node, report func(instance.Report)) error
	// Placed asks a controller that runs a Nomad server where allocations are.
	Placed(ctx context.Context, n node.Node, ids []string) (map[string]instance.Placement, error)
	// Measure returns a process' instances on a node with what they use.
	Measure(ctx context.Context, n node.Node, process string) ([]instance.Status, error)
	// ReadLogs reads lines that a node holds.
	ReadLogs(ctx context.Context, n node.Node, r logs.ReadRequest) (logs.ReadResponse, error)
	// HeldBlob and HoldBlob read and write a controller's copy of a blob,
	// HasBlob asks for it. An error that is rpcerr.NotFound means none.
	HeldBlob(ctx context.Context, n node.Node, digest string) (io.ReadCloser, int64, error)
	HoldBlob(ctx context.Context, n node.Node, b instance.Blob, body io.Reader) error
	HasBlob(ctx context.Context, n node.Node, digest string) (BlobInfo, error)
}

// LogStore keeps log lines on this node.
type LogStore interface {
	Append(logs.Line)
}

// RouterEnv is what the router gets from its node.
type RouterEnv struct {
	Self   node.Node
	Domain string
	Dir    string // for its files; made when missing
	// HTTP and HTTPS are addresses to listen on; at Health load balancers ask
	// how the router is.
	HTTP, HTTPS, Health string
	// Certificate is what is shown to the world; it changes when renewed.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Config returns what operators decide about routers, and a channel that
	// is closed at the next change.
	Config func() (RouterConfig, <-chan struct{})
	// Stays reports, when Run ends, whether this node goes on to have a router:
	// the agent is being replaced, or the router failed.
	Stays func() bool
	// ControllerTLS is for connections to controllers' APIs.
	ControllerTLS *tls.Config
	// Feed calls update with the routes of some controller until ctx is done
	// or that controller is lost.
	Feed func(ctx context.Context, update func(*routing.Update) error) error
	// Confirm asks a node whether an instance still has an address.
	Confirm func(ctx context.Context, nodeID, address, allocID string) error
	Logs    LogStore
	Logger  *slog.Logger
}

// RouterConfig is what operators decide about routers.
type RouterConfig struct {
	// Certificates are for domains of the operator's own, by host in lower
	// case, "*.…" for wildcards.
	Certificates map[string]*tls.Certificate
	// TrustedProxies are load balancers in front; ProxyProtocol says that
	// their connections begin with a PROXY header.
	TrustedProxies []netip.Prefix
	ProxyProtocol  bool
	// Idle bounds kept-alive connections of clients, Response the time until
	// an app begins to answer, Stall that of a client that stands still in the
	// middle. A router takes them when it starts.
	Idle, Response, Stall time.Duration
	// DrainWait is how long a router that ends goes on after its health check has
	// said so.
	DrainWait time.Duration
}

// UsePlatform gives the agent what it runs beyond membership. Call it before
// Run.
func (a *Agent) UsePlatform(p Platform) { a.platform = p }

// Settings that the platform reads, by key.
const (
	// SettingStackImage is the image that apps are staged and run in, with
	// its tag.
	SettingStackImage = "cloud/stack_image"
	// SettingCertificates are further authorities, PEM, that staging and app
	// containers trust.
	SettingCertificates = "cloud/certificates"
	// SettingStagingProxy is the HTTP proxy of staging containers.
	SettingStagingProxy = "cloud/staging_http_proxy"
	// SettingStagingNoProxy are hosts that they reach without it.
	SettingStagingNoProxy = "cloud/staging_no_proxy"
	// SettingAPIRate and SettingAPIRateAnonymous bound requests to the API in
	// a minute: of a user, and of an address without a token.
	SettingAPIRate          = "cloud/api_requests_per_minute"
	SettingAPIRateAnonymous = "cloud/api_anonymous_requests_per_minute"
)
