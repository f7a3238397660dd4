package nomad

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// ErrForeignToken means that the cluster's ACLs were bootstrapped with another
// secret.
var ErrForeignToken = errors.New("nomad's ACLs were bootstrapped with another token; " +
	"reset them (nomad acl bootstrap reset) or restore the cluster's own secret")

// BootstrapACL makes the management token with the given secret (a UUID). It
// may be repeated: when that was done before it checks that the secret is a
// management token, and returns ErrForeignToken when it is not. It needs a
// leader.
func (c *Client) BootstrapACL(ctx context.Context, secret string) error {
	err := c.call(ctx, "bootstrap ACLs", func(a *api.Client) error {
		_, _, err := a.ACLTokens().BootstrapOpts(secret, nil)
		return err
	})
	if statusCode(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "already done") {
		return err
	}
	own := &Client{c.Caller, c.address, secret}
	return own.checkManagement(ctx)
}

func (c *Client) checkManagement(ctx context.Context) error {
	return c.call(ctx, "check the management token", func(a *api.Client) error {
		t, _, err := a.ACLTokens().Self(nil)
		code := statusCode(err)
		switch {
		case code == http.StatusForbidden || code == http.StatusNotFound:
			return ErrForeignToken
		case err != nil:
			return err
		case t.Type != "management":
			return fmt.Errorf("the token is of type %s, not management: %w", t.Type, ErrForeignToken)
		}
		return nil
	})
}

// statusCode returns the HTTP status that err carries, or 0.
func statusCode(err error) int {
	var e api.UnexpectedResponseError
	if errors.As(err, &e) && e.HasStatusCode() {
		return e.StatusCode()
	}
	return 0
}
