// Package routing holds the feed that controllers give to routers.
package routing

// Update is one message of the feed: first a snapshot, then changes. (Term,
// Version) only ever grows; a router refuses an older one. Term is the Raft
// term in which the controller learned of the state, Version a counter of
// that controller. After a change of controller the first message is a
// snapshot.
type Update struct {
	Term    uint64 `json:"term"`
	Version uint64 `json:"version"`
	// Source names the counter of Version: the controller and the start of its
	// process. Versions of different sources are not compared, terms always are.
	Source   string  `json:"source,omitempty"`
	Snapshot bool    `json:"snapshot,omitempty"`
	Routes   []Route `json:"routes,omitempty"`  // new or changed, whole
	Removed  []Key   `json:"removed,omitempty"` // not in a snapshot
	// System names what is served by controllers: hosts that are reached
	// through every controller in Targets.
	System *System `json:"system,omitempty"`
}

// Position says how far a router has read the feed.
type Position struct {
	Term    uint64 `json:"term"`
	Version uint64 `json:"version"`
	Source  string `json:"source,omitempty"`
}

// Position returns where the router stands that has applied u.
func (u *Update) Position() Position {
	return Position{Term: u.Term, Version: u.Version, Source: u.Source}
}

// Key names a route: a host in lower case ("app.example.com", or
// "*.example.com") and a path ("" or "/a/b", no slash at the end).
type Key struct {
	Host string `json:"host"`
	Path string `json:"path,omitempty"`
}

// Route is a route with everything that may serve it.
type Route struct {
	Key
	GUID     string    `json:"guid"`
	Backends []Backend `json:"backends"` // ready ones only; empty: 503
	// LoadBalancing is "round-robin" (also "") or "least-connection".
	LoadBalancing string `json:"load_balancing,omitempty"`
}

// Backend is one ready instance behind a route.
type Backend struct {
	Address  string `json:"address"` // host:port
	AllocID  string `json:"alloc_id"`
	AppGUID  string `json:"app_guid"`
	AppName  string `json:"app_name,omitempty"`
	Process  string `json:"process"` // type
	Index    int    `json:"index"`
	Node     string `json:"node"`               // node ID
	Protocol string `json:"protocol,omitempty"` // "http1" (also "") or "http2"
	Zone     string `json:"zone,omitempty"`
	// Started is when the container was started, in Unix nanoseconds. It tells an
	// instance from the one before it, which had the same allocation and address.
	Started int64 `json:"started,omitempty"`
}

// System is what routers send to the controllers' API.
type System struct {
	Hosts   []string `json:"hosts"`   // api.…, login.…, uaa.…, log-cache.…
	Targets []string `json:"targets"` // host:port of controllers' API listeners
	Domain  string   `json:"domain"`
}

// Withdrawal takes an instance out at once, before the feed says so.
type Withdrawal struct {
	AllocID string `json:"alloc_id"`
	Address string `json:"address"`
	Started int64  `json:"started,omitempty"` // as in Backend
}
