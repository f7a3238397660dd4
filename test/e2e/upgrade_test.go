package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdHTTP2 is http2 URL.
func (c *cloud) cmdHTTP2(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: http2 URL")
	}
	a, err := c.get(context.Background(), args[0], true)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), a.text)
	if a.proto != "HTTP/2.0" || a.status != http.StatusOK {
		ts.Fatalf("%s, status %d", a.proto, a.status)
	}
}

// cmdWebSocket is websocket URL: the handshake by RFC 6455 and one text frame
// each way.
func (c *cloud) cmdWebSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: websocket URL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(c.echo(ctx, args[0], "hello over a socket"))
}

func (c *cloud) echo(ctx context.Context, url, message string) error {
	client, err := c.client(false)
	if err != nil {
		return err
	}
	client.Timeout = 0 // ctx ends it; a timeout hides the connection
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The answer to this key stands in the RFC, 1.3.
	if accept := resp.Header.Get("Sec-WebSocket-Accept"); resp.StatusCode != http.StatusSwitchingProtocols || accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		return fmt.Errorf("no handshake: %s, accept %q", resp.Status, accept)
	}
	conn, ok := resp.Body.(io.ReadWriter)
	if !ok {
		return fmt.Errorf("no connection after the handshake: %T", resp.Body)
	}
	// A masked text frame; the mask of zeros leaves the text as it is.
	frame := append([]byte{0x81, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...)
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	head := make([]byte, 2)
	if _, err := io.ReadFull(in, head); err != nil {
		return err
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	if want := strings.ToUpper(message); head[0] != 0x81 || string(body) != want {
		return fmt.Errorf("frame %x %q came back, not %q", head[0], body, want)
	}
	return nil
}
