package inspect

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// Deadline is how long each check may take.
const Deadline = 5 * time.Second

// Env is what the checks know. Functions are called at most once per Run, from
// goroutines of their own, and must honour their context. A nil one
// makes its check warn on a configured node.
type Env struct {
	Now        func() time.Time // default time.Now
	Configured bool             // the machine is in a cluster
	Micro      bool             // a cluster of one machine on purpose
	Self       node.Node        // zero if not configured
	Voter      bool             // runs the Consul and Nomad servers
	Nodes      []node.Node      // the nodes table, this node included
	Version    string           // of this agent

	DataDir string
	// DiskErr returns why the agent's data directory does not take writes,
	// as the agent saw it at work; nil if it does.
	DiskErr func() error
	Files   []File // whose permissions matter, see [SecretFiles]
	Ports   []Port // see [NodePorts]

	// Certificate is the node's, Authorities are those trusted now.
	Certificate *x509.Certificate
	Authorities pki.Bundle
	ClusterID   string
	// SiteCertificates are those that routers show for operators' domains;
	// controllers know them.
	SiteCertificates []SiteCertificate

	Clocks   func(context.Context) ([]Offset, error) // of the other nodes, asked by RPC
	Docker   func(context.Context) (fence.Info, error)
	Image    func(context.Context) error // whether a DEA has the image that apps run in; nil on other nodes
	Programs func(context.Context) []Program
	Quorum   func(context.Context) (Quorum, error)
	Gossip   func(context.Context) ([]Seen, error) // the agent's gossip, this node included
	Consul   func(context.Context) ([]Seen, error) // Consul's members, this node included
	Platform bool                                  // the cluster runs apps
	Apps     func(context.Context) (Apps, error)   // asked of the Primary

	Logger *slog.Logger // for stack traces of broken checks; default slog.Default()

	proc string // default /proc
}

// Check is one check, bound to an Env.
type Check struct {
	Name        string
	Description string
	run         func(context.Context) []local.Finding
}

// Checks returns every check, in the order in which they are shown.
func Checks(env Env) []Check {
	if env.Now == nil {
		env.Now = time.Now
	}
	env.Logger = cmp.Or(env.Logger, slog.Default())
	env.proc = cmp.Or(env.proc, "/proc")
	return []Check{
		{"clock", "clocks of the nodes against each other", env.clock},
		{"disk", "space, inodes and speed of the data directory", env.disk},
		{"memory", "memory that is available", env.memory},
		{"kernel", "what containers need of the kernel", env.kernel},
		{"files", "permissions of files that hold secrets", env.files},
		{"ports", "who listens on the ports of this node", env.ports},
		{"docker", "the Docker Engine", env.docker},
		{"versions", "versions of the agent, Consul and Nomad", env.versions},
		{"certificates", "certificates of the node and the cluster", env.certificates},
		{"quorum", "voters and Primary", env.quorum},
		{"gossip", "whom gossip sees, against the nodes table", env.gossip},
		{"consul", "whom Consul sees, against the nodes table", env.consul},
		{"apps", "what runs of apps, against what developers asked for", env.apps},
	}
}

// Run makes the named checks, or all if none is named, at the same time, and
// returns their findings in the order of [Checks]: at least one for each. An
// unknown name is a local.CodeNotFound error. report, if not nil, is called
// with the name of each check that is waited for, in order, from this
// goroutine. Run ends with an error when ctx does.
//
// A check that is stuck in the kernel (a disk that hangs) is given up after
// [Deadline]; its goroutine ends when the kernel lets go.
func Run(ctx context.Context, env Env, names []string, report func(name string)) ([]local.Finding, error) {
	checks, err := choose(Checks(env), names)
	if err != nil {
		return nil, err
	}
	results := make([]<-chan []local.Finding, len(checks))
	for i, c := range checks {
		results[i] = c.start(ctx, cmp.Or(env.Logger, slog.Default()))
	}
	var out []local.Finding
	for i, c := range checks {
		if report != nil {
			report(c.Name)
		}
		for _, f := range <-results[i] {
			f.Check = c.Name
			out = append(out, f)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

func choose(all []Check, names []string) ([]Check, error) {
	var known []string
	for _, c := range all {
		known = append(known, c.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, local.Errorf(local.CodeNotFound, "the checks are "+strings.Join(known, ", "), "there is no check %.40q", n)
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(c Check) bool { return !slices.Contains(names, c.Name) }), nil
}

// start begins the check and returns where its findings arrive, at the latest a
// moment after the deadline: one that honours its context can say more.
func (c Check) start(ctx context.Context, log *slog.Logger) <-chan []local.Finding {
	const grace = 300 * time.Millisecond
	done, out := make(chan []local.Finding, 1), make(chan []local.Finding, 1)
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	go func() {
		defer cancel()
		done <- c.contained(ctx, log)
	}()
	go func() {
		select {
		case f := <-done:
			out <- f
			return
		case <-ctx.Done():
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case f := <-done:
			out <- f
		case <-timer.C:
			out <- failed("repeat it alone: kato inspect "+c.Name+"; if it hangs again look at dmesg for a disk or network file system that does not answer",
				"the check did not end within %v", Deadline)
		}
	}()
	return out
}

// contained runs the check and turns a panic into a finding.
func (c Check) contained(ctx context.Context, log *slog.Logger) (f []local.Finding) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a check of inspect panicked", "check", c.Name, "panic", p, "stack", string(debug.Stack()))
			f = failed("report it as a defect, with the agent's log: journalctl -u stackato-agent", "the check itself is broken: %v", p)
		}
	}()
	f = c.run(ctx)
	if len(f) == 0 {
		panic("no finding")
	}
	return f
}

func ok(format string, args ...any) []local.Finding {
	return []local.Finding{{Status: local.FindingOK, Detail: fmt.Sprintf(format, args...)}}
}

func warned(remedy, format string, args ...any) []local.Finding {
	return []local.Finding{{Status: local.FindingWarn, Detail: fmt.Sprintf(format, args...), Remedy: remedy}}
}

func failed(remedy, format string, args ...any) []local.Finding {
	return []local.Finding{{Status: local.FindingFail, Detail: fmt.Sprintf(format, args...), Remedy: remedy}}
}

// nothing is what a check of the cluster says that was given nothing to look
// at: on a machine without a cluster that is as it should be.
func (env Env) nothing() []local.Finding {
	if !env.Configured {
		return ok("this machine is in no cluster yet")
	}
	return warned("report it as a defect", "the agent gave this check nothing to look at")
}

// list joins names for people: at most 8, then how many more.
func list(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
