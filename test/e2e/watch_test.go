package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// container is one of an app, as the Docker Engine of a node shows it.
type container struct {
	ID     string `json:"Id"`
	State  string
	Labels map[string]string

	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

func (c container) version() string { return c.Labels["stackato.version"] }

// containers asks a node's Docker Engine, past everything of Stackato.
func containers(ctx context.Context, n *cluster.Node, app string) ([]container, error) {
	socket := n.HostPath("/run/docker.sock")
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	filters, _ := json.Marshal(map[string][]string{"label": {"stackato.app=" + app, "stackato.kind=app"}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/v1.41/containers/json?all=1&filters="+url.QueryEscape(string(filters)), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	var list []container
	return list, json.NewDecoder(resp.Body).Decode(&list)
}

// answers asks a container itself.
func (c container) answers(ctx context.Context, n *cluster.Node) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
	for _, network := range c.NetworkSettings.Networks {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+network.IPAddress+":8080/", nil)
		if err != nil {
			return false
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	return false
}

// watch counts again and again which instances of an app answer.
type watch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	rounds   int
	fewest   int      // that answered at one time
	then     []string // what there was at that time
	most     int      // that ran at one time
	versions map[string]int
}

// watchApp asks the containers of an app on some nodes until stopped.
func watchApp(ctx context.Context, app string, nodes []*cluster.Node) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel, fewest: 1 << 20}
	w.done.Go(func() {
		for ctx.Err() == nil {
			w.look(ctx, app, nodes)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return w
}

// atOnce is how long a round may take that says what there is at one time. A
// connection that is begun while Docker sets up a network loses its first
// packet and takes a second; meanwhile an instance of another node may have
// gone because this one has come.
const atOnce = 300 * time.Millisecond

func (w *watch) look(ctx context.Context, app string, nodes []*cluster.Node) {
	start := time.Now()
	answering, running, versions := 0, 0, map[string]int{}
	var found []string
	for _, n := range nodes {
		list, err := containers(ctx, n, app)
		if err != nil {
			return // a round that was not seen as a whole counts for nothing
		}
		for _, c := range list {
			if c.State != "running" {
				continue
			}
			running++
			began, answers := time.Now(), c.answers(ctx, n)
			if answers {
				answering++
				versions[c.version()]++
			}
			found = append(found, fmt.Sprintf("%s %s %s answers: %v (%s)", n.Name, c.ID[:8], c.version(), answers, time.Since(began).Round(time.Millisecond)))
		}
	}
	if ctx.Err() != nil || time.Since(start) > atOnce {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rounds++
	if answering < w.fewest {
		w.then = append(found, "at "+time.Now().Format(time.TimeOnly))
	}
	w.fewest, w.most, w.versions = min(w.fewest, answering), max(w.most, running), versions
}

// seen returns how many instances of each version answered last.
func (w *watch) seen() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.versions
}

// stop returns the fewest instances that answered at one time, and the most
// that ran.
func (w *watch) stop(t *testing.T) (fewest, most int) {
	t.Helper()
	w.cancel()
	w.done.Wait()
	if w.rounds < 10 {
		t.Fatalf("only %d rounds were seen", w.rounds)
	}
	return w.fewest, w.most
}

// exactly is an error unless an app has so many containers on some nodes,
// and all of them answer.
func exactly(ctx context.Context, nodes []*cluster.Node, app string, count int) error {
	found, answering := []string{}, 0
	for _, n := range nodes {
		list, err := containers(ctx, n, app)
		if err != nil {
			return err
		}
		for _, k := range list {
			found = append(found, n.Name+" "+filepath.Base(k.ID)[:12]+" "+k.State)
			if k.answers(ctx, n) {
				answering++
			}
		}
	}
	if len(found) != count || answering != count {
		return fmt.Errorf("%d of %d containers answer, there should be %d: %s", answering, len(found), count, strings.Join(found, ", "))
	}
	return nil
}

// containerIDs are the containers of an app on some nodes.
func containerIDs(ctx context.Context, t *testing.T, nodes []*cluster.Node, app string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, n := range nodes {
		list, err := containers(ctx, n, app)
		must(t, err)
		for _, k := range list {
			out[k.ID] = true
		}
	}
	return out
}
