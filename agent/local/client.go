package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Client speaks to the agent of this machine. Its methods are those of
// [Backend] and keep their contracts; errors are *[Error] with code and hint.
// It is safe for concurrent use. The zero value is not usable: see
// [NewClient].
type Client struct {
	socket  string
	node    string
	command string
	http    *http.Client
}

// Client has every method of a Backend but Forward.
var _ interface {
	InfoBackend
	MemberBackend
	NodeBackend
	RoleBackend
	ProcessBackend
	ConfigBackend
	TokenBackend
	CertificateBackend
	SecurityBackend
} = (*Client)(nil)

// NewClient returns a client of the agent that listens on socket ("" is
// [DefaultSocket]). It connects at the first request.
func NewClient(socket string) *Client {
	if socket == "" {
		socket = DefaultSocket
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 3 * time.Second}
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: dial, DisableCompression: true, DisableKeepAlives: true,
	}}}
}

// OnNode returns a client whose requests are served by the named node (name,
// id or address; "" is this one), through the agent of this machine.
func (c *Client) OnNode(node string) *Client {
	out := *c
	out.node = node
	return &out
}

// ForCommand returns a client that names the command behind its requests, for
// the audit log, such as "kato role add". No arguments: they may be secret.
func (c *Client) ForCommand(command string) *Client {
	out := *c
	out.command = command
	return &out
}

// request sends one request and decodes the answer into out.
func (c *Client) request(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout+5*time.Second)
	defer cancel()
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxForwarded)).Decode(out); err != nil {
		return c.explain(fmt.Errorf("reading the agent's answer: %w", err))
	}
	return nil
}

// stream sends a long request, reports its steps and decodes its result.
func (c *Client) stream(ctx context.Context, path string, in, out any, p Progress) error {
	ctx, cancel := context.WithTimeout(ctx, longTimeout+5*time.Second)
	defer cancel()
	resp, err := c.send(ctx, http.MethodPost, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxForwarded))
	for {
		var e event
		if err := dec.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return c.explain(ctx.Err())
			}
			return Errorf(CodeUnavailable, "look at kato status and at the agent's log: the command may have taken effect",
				"the agent broke off before it told the result")
		}
		switch {
		case e.Error != nil:
			return e.Error
		case e.Step != nil:
			if p != nil {
				p(*e.Step)
			}
		case e.Result != nil:
			return json.Unmarshal(e.Result, out)
		}
	}
}

// send makes the request and turns error answers into *Error.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("local API request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, fmt.Errorf("local API request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", jsonType)
	}
	if c.node != "" {
		req.Header.Set(HeaderNode, c.node)
	}
	if c.command != "" {
		req.Header.Set(HeaderCommand, c.command)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

// readError reads an error answer.
func readError(resp *http.Response) error {
	var e event
	err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&e)
	if err != nil || e.Error == nil {
		return Errorf(CodeInternal, "kato and stackato-agent should have the same version",
			"the agent answered %s without saying why", resp.Status)
	}
	return e.Error
}

// explain turns a failed connection into an error that says what to do.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Errorf(CodeUnavailable,
			"is stackato-agent running? start it with: systemctl start stackato-agent (or: stackato-agent run; a micro cloud: make micro)",
			"no agent answers on %s", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return Errorf(CodeForbidden, "run as root or as a member of group "+Group,
			"you may not use %s", c.socket)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Errorf(CodeTimeout, "look at kato status and at the agent's log: the command may have taken effect",
			"the agent on %s did not answer in time", c.socket)
	case errors.Is(err, context.Canceled):
		return err
	}
	return Errorf(CodeUnavailable, "look at the agent's log", "the agent on %s: %v", c.socket, err)
}
