package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects as a process of the node would, also to what listens on the
// node's loopback only, such as the HTTP interfaces of Consul and Nomad. The
// node must be on.
func (n *Node) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	pid := n.hostPID()
	if pid == 0 {
		return nil, fmt.Errorf("%s is off", n.Name)
	}
	// The network namespace is a thread's: this one goes back to its own, or
	// ends with the goroutine if it cannot.
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("%s: enter its network: %w", n.Name, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
		runtime.UnlockOSThread()
	}
	return conn, err
}
