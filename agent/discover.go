package agent

import (
	"context"
	"io"
	"log"
	"strings"

	"github.com/hashicorp/go-discover/provider/aws"

	"github.com/stackato/stackato/wire/rpcerr"
)

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
