package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

// testCertificate is what the fence of tests trusts. Nobody parses it.
const testCertificate = "-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n"

// fence is a node's fence for one build: the socket's protocol, with blobs in
// memory.
type fence struct {
	socket string

	mu       sync.Mutex
	spec     staging.Spec
	blobs    map[string][]byte
	uploads  map[string][]byte // "droplet", "cache"
	results  []staging.Result
	failures map[string]int // path → how often it answers 503 first

	certificates string
}

// newFence serves at dir/fence.sock until the test ends.
func newFence(t *testing.T, dir string) *fence {
	t.Helper()
	f := &fence{
		socket: filepath.Join(dir, "fence.sock"), blobs: map[string][]byte{}, uploads: map[string][]byte{},
		failures: map[string]int{}, certificates: testCertificate,
		spec: staging.Spec{
			BuildGUID: "b1", Token: "secret-token", AppGUID: "a1", AppName: "shop", Stack: "small",
			MemoryMB: 256, DiskMB: 512, Certificates: "further\n",
		},
	}
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.socket, 0o600); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f.handler()}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return f
}

func (f *fence) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/build", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(f.spec) })
	mux.HandleFunc("GET /v1/certificates", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, f.certificates) })
	mux.HandleFunc("GET /v1/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		raw, ok := f.blobs[r.PathValue("digest")]
		if !ok {
			http.Error(w, "this build has no such blob", http.StatusForbidden)
			return
		}
		_, _ = w.Write(raw)
	})
	mux.HandleFunc("PUT /v1/{what}", func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.uploads[r.PathValue("what")] = raw
		_ = json.NewEncoder(w).Encode(blobOf(raw))
	})
	mux.HandleFunc("POST /v1/result", func(w http.ResponseWriter, r *http.Request) {
		var result staging.Result
		if err := json.NewDecoder(r.Body).Decode(&result); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.results = append(f.results, result)
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.failures[r.URL.Path] > 0 {
			f.failures[r.URL.Path]--
			http.Error(w, "no controller answers", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func blobOf(raw []byte) instance.Blob {
	sum := sha256.Sum256(raw)
	return instance.Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(len(raw))}
}

// add keeps a blob for the build.
func (f *fence) add(raw []byte) instance.Blob {
	b := blobOf(raw)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[b.Digest] = raw
	return b
}

// result returns the build's only result.
func (f *fence) result(t *testing.T) staging.Result {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.results) != 1 {
		t.Fatalf("%d results: %+v", len(f.results), f.results)
	}
	return f.results[0]
}

// uploaded returns what was uploaded as droplet or cache, nil for nothing.
func (f *fence) uploaded(what string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.uploads[what]
}

// withPack adds an uploaded buildpack of scripts.
func (f *fence) withPack(t *testing.T, scripts map[string]string) {
	t.Helper()
	files := map[string]string{}
	for name, body := range scripts {
		files["bin/"+name] = "#!/bin/bash\nset -e\n" + body + "\n"
	}
	f.spec.Buildpacks = append(f.spec.Buildpacks, staging.Buildpack{Name: "custom", Blob: f.add(zipOf(t, files))})
}

// zipOf makes a zip of files that everybody may execute.
func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, body := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		one, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(one, body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// filesOf returns the regular files of a tar.gz.
func filesOf(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	in, out := tar.NewReader(zipped), map[string]string{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			body, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			out[h.Name] = string(body)
		}
	}
}
