package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"

	"github.com/hashicorp/go-discover/provider/aws"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// ownAddress picks the address that the node advertises: the first private
// IPv4 address of an interface that is up, else the first global one, else
// loopback (a machine without a network can still be a micro cloud).
func ownAddress() (string, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("network interfaces: %w", err)
	}
	var global string
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || isContainerBridge(i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			ip, _, err := net.ParseCIDR(a.String())
			if err != nil || ip.To4() == nil || !ip.IsGlobalUnicast() {
				continue
			}
			if ip.IsPrivate() {
				return ip.String(), nil
			}
			global = first(global, ip.String())
		}
	}
	return first(global, "127.0.0.1"), nil
}

// isContainerBridge reports whether an interface belongs to containers on
// this machine, so that no other node can reach it.
func isContainerBridge(name string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "nomad"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// discover resolves a cloud auto-join string, in the form that Consul and
// Nomad use ("provider=aws tag_key=… tag_value=…").
func discover(ctx context.Context, text string) ([]string, error) {
	args := map[string]string{}
	for _, field := range strings.Fields(text) {
		k, v, ok := strings.Cut(field, "=")
		if !ok {
			return nil, rpcerr.New(rpcerr.Invalid, "auto-join: %q is not key=value", field)
		}
		args[k] = v
	}
	if args["provider"] != "aws" {
		return nil, rpcerr.New(rpcerr.Invalid, "auto-join: provider %q is not built in", args["provider"]).
			WithHint("use provider=aws, or name the addresses")
	}
	type result struct {
		addrs []string
		err   error
	}
	done := make(chan result, 1)
	go func() { // ends with the provider's own time-outs
		addrs, err := (&aws.Provider{}).Addrs(args, log.New(io.Discard, "", 0))
		done <- result{addrs, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.err == nil && len(r.addrs) == 0 {
			r.err = rpcerr.New(rpcerr.NotFound, "auto-join: no instance with tag %s=%s", args["tag_key"], args["tag_value"])
		}
		return r.addrs, r.err
	}
}

// readGroups reads the administrators' role groups; a missing file means the
// built-in ones.
func readGroups(path string) (node.Groups, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return node.BuiltinGroups(), nil
	}
	if err != nil {
		return nil, local.Errorf(local.CodeRefused, "mend or remove the file", "role groups: %v", err)
	}
	g, err := node.ParseGroups(data)
	if err != nil {
		return nil, local.Errorf(local.CodeRefused, "mend the file; nothing was changed", "%s: %v", path, err)
	}
	return g, nil
}
