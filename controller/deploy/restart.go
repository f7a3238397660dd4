package deploy

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// Restart stops an allocation's container by the stop path; its node starts
// it again in place.
func (c *Client) Restart(ctx context.Context, alloc string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if err := c.api.Allocations().Restart(&api.Allocation{ID: alloc}, "", (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("nomad: restart allocation %s: %w", alloc, err)
	}
	return nil
}
