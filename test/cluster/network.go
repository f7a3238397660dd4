package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// createNetwork makes the cluster's network with a /24 of its own and returns
// the first three numbers of its addresses, such as "10.213.7". The Engine
// decides what is free, so that clusters of several processes do not collide.
func createNetwork(ctx context.Context, o Options) (string, error) {
	start := rand.IntN(256)
	var last error
	for i := range 256 {
		prefix := fmt.Sprintf("%s.%d", subnetPrefix, (start+i)%256)
		args := slices.Concat([]string{"network", "create", "--driver", "bridge", "--subnet", prefix + ".0/24"},
			o.labels(), []string{o.name})
		_, err := docker(ctx, args...)
		if err == nil {
			return prefix, nil
		}
		if !strings.Contains(err.Error(), "overlap") {
			return "", err
		}
		last = err
	}
	return "", fmt.Errorf("no free network in %s.0.0/16; remove old clusters with: go run ./test/cluster/cmd/cluster sweep: %w",
		subnetPrefix, last)
}
