package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client speaks to the cluster's routers as a browser would.
func (c *cloud) client(http2 bool) (*http.Client, error) {
	pem, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{
		DialContext:       c.dial,
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: http2,
	}
	return &http.Client{
		Transport:     tr,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// answer is what came back, header first.
type answer struct {
	status int
	proto  string
	text   string
}

// get makes one request, with headers as "Name: value".
func (c *cloud) get(ctx context.Context, url string, http2 bool, headers ...string) (answer, error) {
	client, err := c.client(http2)
	if err != nil {
		return answer{}, err
	}
	defer client.CloseIdleConnections()
	return request(ctx, client, url, headers...)
}

func request(ctx context.Context, client *http.Client, url string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", resp.Proto, resp.Status)
	_ = resp.Header.Write(&b) // to memory
	b.WriteByte('\n')
	_, err = io.Copy(&b, resp.Body)
	_ = resp.Trailer.Write(&b) // to memory
	return answer{resp.StatusCode, resp.Proto, b.String()}, err
}

// wants makes one request and holds the answer against status and pattern.
func (c *cloud) wants(ctx context.Context, url string, status int, pattern *regexp.Regexp) error {
	a, err := c.get(ctx, url, false)
	if err != nil {
		return err
	}
	return a.like(status, pattern)
}

func (a answer) like(status int, pattern *regexp.Regexp) error {
	if a.status != status {
		return fmt.Errorf("status %d, not %d:\n%s", a.status, status, a.text)
	}
	if pattern != nil && !pattern.MatchString(a.text) {
		return fmt.Errorf("no match for %q in:\n%s", pattern, a.text)
	}
	return nil
}

// wanted reads URL [STATUS [PATTERN]].
func wanted(args []string) (url string, status int, pattern *regexp.Regexp, err error) {
	if len(args) < 1 || len(args) > 3 {
		return "", 0, nil, fmt.Errorf("usage: get URL [STATUS [PATTERN]]")
	}
	status = http.StatusOK
	if len(args) > 1 {
		if status, err = strconv.Atoi(args[1]); err != nil {
			return "", 0, nil, err
		}
	}
	if len(args) > 2 {
		pattern, err = regexp.Compile("(?m)" + args[2])
	}
	return args[0], status, pattern, err
}

// load makes requests until it is stopped.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	count  int
	failed []string
}

// Clients of a load, half of them with a new connection for each request, and
// the pause between two requests of one.
const (
	loadClients = 4
	loadPause   = 40 * time.Millisecond
)

func (c *cloud) startLoad(ctx context.Context, url string) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	for i := range loadClients {
		client, err := c.client(false)
		if err != nil {
			cancel()
			return nil, err
		}
		client.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
		l.done.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				// A request that has begun may end.
				a, err := request(context.WithoutCancel(ctx), client, url)
				if err == nil {
					err = a.like(http.StatusOK, nil)
				}
				l.add(err)
				select {
				case <-ctx.Done():
				case <-time.After(loadPause):
				}
			}
		})
	}
	return l, nil
}

func (l *load) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if err != nil {
		l.failed = append(l.failed, err.Error())
	}
}

// stop returns how many requests were made and what went wrong.
func (l *load) stop() (count int, failed []string) {
	l.cancel()
	l.done.Wait()
	return l.count, l.failed
}
