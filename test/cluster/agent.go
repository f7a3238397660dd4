package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stackato/stackato/agent/local"
)

// errEnded stops waiting for an agent that has ended.
var errEnded = errors.New("the agent ended")

// SetAgentEnv sets variables in the environment of the node's agent, from its
// next start on, until changed again. Options.AgentEnv is not kept beside it.
func (n *Node) SetAgentEnv(env map[string]string) error {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s='%s'\n", key, strings.ReplaceAll(env[key], "'", `'\''`))
	}
	return n.control("agent.env", b.String())
}

// Socket returns the path on this host of the agent's local API. It changes
// with every Start.
func (n *Node) Socket() string {
	// Not the volume's path: a unix socket's path is limited to 108 bytes.
	return filepath.Join(fmt.Sprintf("/proc/%d/root", n.hostPID()), local.DefaultSocket)
}

// Client speaks to the node's agent from this process, without starting one
// in the node. It is valid until the node's next Start.
func (n *Node) Client() *local.Client { return local.NewClient(n.Socket()) }

// WaitAgent returns when the agent's local API accepts connections. It fails
// at once, with the end of the log, when the agent has ended.
func (n *Node) WaitAgent(ctx context.Context) error {
	var ended error
	err := poll(ctx, 5*time.Millisecond, "the agent of "+n.Name, func() error {
		code, err := os.ReadFile(filepath.Join(n.volume, "ctl/agent.exit"))
		if err == nil {
			ended = fmt.Errorf("%s: %w with code %s: %s", n.Name, errEnded, strings.TrimSpace(string(code)), n.AgentLog(10))
			return nil
		}
		conn, err := net.DialTimeout("unix", n.Socket(), time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return errors.Join(err, ended)
}

// StartAgent starts an agent that was killed, stopped or never started, and
// returns when its local API accepts connections.
func (n *Node) StartAgent(ctx context.Context) error {
	if !n.controlled("agent.hold") {
		return fmt.Errorf("%s: the agent runs already", n.Name)
	}
	if err := errors.Join(n.uncontrol("agent.exit"), n.uncontrol("agent.hold")); err != nil {
		return err
	}
	return n.WaitAgent(ctx)
}

// KillAgent kills the agent with SIGKILL and returns when it is gone. What it
// supervises runs on. Without Options.RestartAgent it stays down.
func (n *Node) KillAgent(ctx context.Context) error { return n.endAgent(ctx, syscall.SIGKILL) }

// StopAgent ends the agent with SIGTERM and waits for it. Without
// Options.RestartAgent it stays down.
func (n *Node) StopAgent(ctx context.Context) error { return n.endAgent(ctx, syscall.SIGTERM) }

func (n *Node) endAgent(ctx context.Context, sig syscall.Signal) error {
	if err := n.signal(ctx, "stackato-agent", sig); err != nil || n.cluster.opts.RestartAgent {
		return err
	}
	return poll(ctx, 2*time.Millisecond, "the end of the agent of "+n.Name, func() error {
		if !n.controlled("agent.exit") {
			return errors.New("not noticed by node-init")
		}
		return nil
	})
}

// AgentLog returns the last lines of the agent's log, also while the node is
// off.
func (n *Node) AgentLog(lines int) string {
	b, err := os.ReadFile(n.HostPath(LogDir + "/agent.log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Kato runs kato in the node and returns its standard output. A command that
// fails is a [*CommandError] with its exit code.
func (n *Node) Kato(ctx context.Context, args ...string) (string, error) {
	return n.Exec(ctx, slices.Concat([]string{"kato"}, args)...)
}

// KatoJSON runs kato with --json and decodes its output into v.
func (n *Node) KatoJSON(ctx context.Context, v any, args ...string) error {
	out, err := n.Kato(ctx, append(slices.Clone(args), "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("%s: kato %s: %w in %q", n.Name, strings.Join(args, " "), err, out)
	}
	return nil
}
