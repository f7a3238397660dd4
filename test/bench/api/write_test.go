package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stackato/stackato/test/bench/micro"
)

const (
	writers = 16
	writes  = 4000
)

// BenchmarkWrites changes metadata of apps, each client that of its own app:
// a request through the router, TLS to the controller, a token, permissions, a
// command through Raft, synced to the disk.
func BenchmarkWrites(b *testing.B) {
	cloud := micro.Open(b)
	space := cloud.Space()
	paths := make([]string, writers)
	for i := range paths {
		paths[i] = "/v3/apps/" + cloud.NewApp(space, fmt.Sprintf("bench-writes-%d", i), 32).GUID
	}
	for b.Loop() {
		report(b, during(writers, writes, func(n int) error {
			labels := named{"metadata": named{"labels": named{"n": fmt.Sprint(n)}}}
			_, err := cloud.Do(b.Context(), http.MethodPatch, paths[n%writers], labels, nil)
			return err
		}))
	}
}

// BenchmarkConsulWrites is the rival: values of the same size put into Consul's
// KV store on the same node.
func BenchmarkConsulWrites(b *testing.B) {
	cloud := micro.Open(b)
	url := "http://" + cloud.Tool("CONSUL_HTTP_ADDR") + "/v1/kv/bench-writes"
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: writers}}
	send := func(method, url string, body []byte) error {
		req, err := http.NewRequest(method, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("X-Consul-Token", cloud.Tool("CONSUL_HTTP_TOKEN"))
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, text)
		}
		return err
	}
	defer func() { must(b, send(http.MethodDelete, url+"?recurse=true", nil)) }()
	value := bytes.Repeat([]byte("x"), 600) // about an app's size in the state
	for b.Loop() {
		report(b, during(writers, writes, func(n int) error {
			return send(http.MethodPut, fmt.Sprintf("%s/%d", url, n%writers), value)
		}))
	}
}
