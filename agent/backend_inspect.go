package agent

import (
	"context"

	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/local"
)

// Inspect implements local.InfoBackend.
func (b *backend) Inspect(ctx context.Context, names []string, p local.Progress) ([]local.Finding, error) {
	return nil, local.Errorf(local.CodeUnavailable, "", "not there yet")
}

// dockerVersion asks the Docker Engine, "" if there is none.
func (a *Agent) dockerVersion(ctx context.Context) string {
	e, err := fence.New(a.cfg.DockerSocket)
	if err != nil {
		return ""
	}
	defer e.Close()
	info, err := e.Info(ctx)
	if err != nil {
		return ""
	}
	return info.Version
}
