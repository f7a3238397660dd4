package fence

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// Logs streams what a container without a terminal writes to its standard
// output and error: first what the engine has kept from the time since on (zero
// for all of it), then what comes, until the container ends, ctx is done or the
// stream is closed. The stream is Docker's multiplexed format, each frame with
// a time stamp in front of its text. An error wraps fs.ErrNotExist if there is
// no such container.
func (e *Engine) Logs(ctx context.Context, id string, since time.Time) (io.ReadCloser, error) {
	opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Timestamps: true, Tail: "all"}
	if !since.IsZero() {
		opts.Since = fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())
	}
	stream, err := e.client.ContainerLogs(ctx, id, opts)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("logs of container %.12s: %w", id, fs.ErrNotExist)
	}
	if err != nil {
		return nil, e.explain("logs of container", err)
	}
	return stream, nil
}
