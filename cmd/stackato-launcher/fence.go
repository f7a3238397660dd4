package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

const (
	// patience is how long the launcher goes on asking a fence that does not
	// answer: an agent may be replaced under running containers. Being held
	// back is an answer that takes long, not a missing one.
	patience = 15 * time.Minute
	// stopMargin is added to the bound of the routers.
	stopMargin = time.Second
	// lastWords bounds what is told in the container's last moment.
	lastWords = 2 * time.Second
	maxLaunch = 8 << 20 // bytes of what to start
	maxBundle = 8 << 20 // bytes of trusted authorities
)

// fenceClient asks the node's fence. The kernel tells fence who asks.
type fenceClient struct {
	http     *http.Client
	patience time.Duration
}

func newFenceClient(socket string) *fenceClient {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &fenceClient{patience: patience, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}}
}

func (f *fenceClient) close() { f.http.CloseIdleConnections() }

// launch returns what to start. It takes as long as fence holds the instance
// back.
func (f *fenceClient) launch(ctx context.Context) (l instance.Launch, err error) {
	err = f.retry(ctx, func() error {
		body, err := f.do(ctx, http.MethodGet, "instance")
		if err != nil {
			return err
		}
		defer body.Close()
		return json.NewDecoder(io.LimitReader(body, maxLaunch)).Decode(&l)
	})
	return l, err
}

// droplet opens the droplet, a tar that gzip may have packed.
func (f *fenceClient) droplet(ctx context.Context) (body io.ReadCloser, err error) {
	err = f.retry(ctx, func() error {
		body, err = f.do(ctx, http.MethodGet, "droplet")
		return err
	})
	return body, err
}

// certificates returns the authorities to trust, PEM.
func (f *fenceClient) certificates(ctx context.Context) (pem []byte, err error) {
	err = f.retry(ctx, func() error {
		body, err := f.do(ctx, http.MethodGet, "certificates")
		if err != nil {
			return err
		}
		defer body.Close()
		pem, err = io.ReadAll(io.LimitReader(body, maxBundle))
		return err
	})
	return pem, err
}

// started tells that the app's process runs.
func (f *fenceClient) started(ctx context.Context) error {
	return f.retry(ctx, func() error { return f.tell(ctx, "started") })
}

// stopping tells that the instance is about to end and returns when routers
// have let it go. One attempt: without fence the app must end all the same.
func (f *fenceClient) stopping(ctx context.Context, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound+stopMargin)
	defer cancel()
	return f.tell(ctx, "stopping")
}

// outOfMemory tells that the kernel ended a process because memory was full.
func (f *fenceClient) outOfMemory(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	return f.tell(ctx, "oom")
}

func (f *fenceClient) tell(ctx context.Context, what string) error {
	body, err := f.do(ctx, http.MethodPost, what)
	if err != nil {
		return err
	}
	return body.Close()
}

func (f *fenceClient) do(ctx context.Context, method, what string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://fence/v1/"+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	refusal := new(rpcerr.Error)
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(refusal) != nil || refusal.Message == "" {
		refusal = rpcerr.New(rpcerr.Internal, "%s", resp.Status)
	}
	refusal.Retryable = resp.StatusCode/100 == 5
	return nil, refusal
}

// retry repeats what failed because fence was not there or could not answer.
// A refusal is final.
func (f *fenceClient) retry(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(f.patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		refusal := new(rpcerr.Error)
		if errors.As(err, &refusal) && !refusal.Retryable || time.Now().After(deadline) {
			return fmt.Errorf("ask the node: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}
