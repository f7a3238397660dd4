package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

// Bounds of what fence answers, in bytes, and of how long it may be away.
const (
	maxSpec         = 8 << 20
	maxCertificates = 16 << 20
	maxMessage      = 2 << 10
	maxBlob         = 8 << 30
	tries           = 8
	firstPause      = 200 * time.Millisecond
	longestPause    = 5 * time.Second
)

// client speaks to the node's fence. It asks again, within limits, while fence
// is away: an agent that is restarted must not fail a build.
type client struct {
	http  *http.Client
	pause time.Duration
}

func newClient(socket string) *client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &client{pause: firstPause, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true, // blobs are compressed
	}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// statusError is an answer of fence that is no success.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the node answered %d: %s", e.status, e.text)
}

// spec returns the build of this container.
func (c *client) spec(ctx context.Context) (staging.Spec, error) {
	var spec staging.Spec
	err := c.retry(ctx, func() error {
		raw, err := c.get(ctx, "/v1/build", maxSpec)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &spec)
	})
	return spec, err
}

// certificates returns the authorities that the node trusts, PEM.
func (c *client) certificates(ctx context.Context) (raw []byte, err error) {
	err = c.retry(ctx, func() (err error) {
		raw, err = c.get(ctx, "/v1/certificates", maxCertificates)
		return err
	})
	return raw, err
}

// blob writes a blob of the build to f, which it truncates first, and leaves f
// at its start.
func (c *client) blob(ctx context.Context, b instance.Blob, f *os.File) error {
	return c.retry(ctx, func() error {
		if err := rewind(f, true); err != nil {
			return err
		}
		body, err := c.do(ctx, http.MethodGet, "/v1/blobs/"+b.Digest, nil, 0)
		if err != nil {
			return err
		}
		defer body.Close()
		sum := sha256.New()
		limit := b.Size
		if limit <= 0 { // not said
			limit = maxBlob
		}
		n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(body, limit+1))
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != b.Digest || b.Size > 0 && n != b.Size {
			return fmt.Errorf("blob %s of %d bytes came as %s with %d", b.Digest, b.Size, got, n)
		}
		return rewind(f, false)
	})
}

// put uploads what is in f as the build's droplet or cache.
func (c *client) put(ctx context.Context, what string, f *os.File) (b instance.Blob, err error) {
	info, err := f.Stat()
	if err != nil {
		return b, err
	}
	err = c.retry(ctx, func() error {
		body, err := c.do(ctx, http.MethodPut, "/v1/"+what, io.NewSectionReader(f, 0, info.Size()), info.Size())
		if err != nil {
			return err
		}
		defer body.Close()
		if err := json.NewDecoder(io.LimitReader(body, maxMessage)).Decode(&b); err != nil {
			return fmt.Errorf("upload of %s: %w", what, err)
		}
		return nil
	})
	return b, err
}

// result says how the build ended.
func (c *client) result(ctx context.Context, r staging.Result) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.retry(ctx, func() error {
		body, err := c.do(ctx, http.MethodPost, "/v1/result", bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return err
		}
		return body.Close()
	})
}

func (c *client) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	body, err := c.do(ctx, http.MethodGet, path, nil, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = backoff.Permanent(fmt.Errorf("the node's answer to %s is longer than %d bytes", path, limit))
	}
	return raw, err
}

// do sends one request and returns the body of a successful answer.
func (c *client) do(ctx context.Context, method, path string, body io.Reader, size int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://fence"+path, body)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	req.ContentLength = size
	if body != nil && method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	err = &statusError{resp.StatusCode, message(text)}
	if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
		err = backoff.Permanent(err)
	}
	return nil, err
}

// message returns what an answer says, which may be an error of rpcerr.
func message(body []byte) string {
	var said rpcerr.Error
	if json.Unmarshal(body, &said) == nil && said.Message != "" {
		return said.Message
	}
	return strings.TrimSpace(string(body))
}

// retry repeats what fails for a passing reason.
func (c *client) retry(ctx context.Context, f func() error) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = c.pause, longestPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if isFull(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxTries(tries), backoff.WithMaxElapsedTime(0))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent.Err
	}
	return err
}

func rewind(f *os.File, truncate bool) error {
	if truncate {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
