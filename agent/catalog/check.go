package catalog

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/hashicorp/consul/api"
)

// checker asks a role how it is, as Consul's own check does. Consul first asks
// at some moment of the first interval; a role that is ready need not wait for
// that to be found, nor one that has just become so.
type checker struct{ http *http.Client }

func newChecker() checker {
	return checker{&http.Client{
		Timeout: checkTimeout,
		// Its own connections: the Consul agent's token is not for roles.
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// status returns what Consul would make of the answer. On everything but an
// answer that is passing or a warning the error says why.
func (c checker) status(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return api.HealthCritical, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return api.HealthCritical, err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 512)) // for the message only
	switch {
	case res.StatusCode/100 == 2:
		return api.HealthPassing, nil
	case res.StatusCode == http.StatusTooManyRequests:
		return api.HealthWarning, nil
	}
	return api.HealthCritical, fmt.Errorf("%s: %.512s", res.Status, body)
}
