package api

import (
	"archive/zip"
	"bytes"
	"crypto/sha1" //nolint:gosec // what Cloud Foundry's clients name files by
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"testing"

	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
)

// zipOf makes a zip of files.
func zipOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// upload sends bits (nil is none) and resources as multipart.
func (c *cloud) upload(user, path string, bits []byte, resources any) answer {
	c.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	if resources != nil {
		data, err := json.Marshal(resources)
		if err != nil {
			c.t.Fatal(err)
		}
		_ = m.WriteField("resources", string(data))
	}
	if bits != nil {
		w, _ := m.CreateFormFile("bits", "package.zip")
		_, _ = w.Write(bits)
	}
	_ = m.Close()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.server.URL+path, &b)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "bearer "+user)
	req.Header.Set("Content-Type", m.FormDataContentType())
	resp, err := c.server.Client().Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{c.t, "upload to " + path, resp.StatusCode, resp.Header, data}
}

func (c *cloud) newPackage(app string) string {
	c.t.Helper()
	return c.admin("POST", "/v3/packages", rel(map[string]any{"type": "bits"}, map[string]any{"app": data(app)})).want(http.StatusCreated).guid()
}

func TestPackageUpAndDown(t *testing.T) {
	p := newServer(t)
	c := p.cloud()
	pkg := c.newPackage(c.newApp("dev-space", "a"))
	bits := zipOf(t, map[string][]byte{"index.html": []byte("hello")})
	got := c.upload("dev", "/v3/packages/"+pkg+"/upload", bits, []any{}).want(http.StatusOK)
	if got.get("state") != "READY" || got.get("data.checksum.type") != "sha256" || len(got.get("data.checksum.value")) != 64 {
		t.Errorf("uploaded package: %s", got.body)
	}
	down := c.as("dev", "GET", "/v3/packages/"+pkg+"/download", nil).want(http.StatusOK)
	if !bytes.Equal(down.body, bits) {
		t.Errorf("%d bytes came back, want %d", len(down.body), len(bits))
	}
	c.upload("dev", "/v3/packages/"+pkg+"/upload", bits, nil).fails(cf.ErrBitsInvalid, "Bits may be uploaded only once. Create a new package to upload different bits.")
}

// TestRefusedPackages: the developer is told what is wrong, and nothing is
// left behind but the empty package.
func TestRefusedPackages(t *testing.T) {
	p := newServer(t, func(c *Config) { c.Limits.PackageSize = 1 << 20 })
	c := p.cloud()
	pkg := c.newPackage(c.newApp("dev-space", "a"))
	noise := make([]byte, 2<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32()) //nolint:gosec // no secret
	}
	known := map[string]any{"checksum": map[string]any{"value": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}, "size_in_bytes": 100_000, "path": "x", "mode": "644"}
	for _, tt := range []struct {
		name      string
		bits      []byte
		resources any
		title     string
	}{
		{"no zip", []byte("this is no zip"), nil, "CF-AppBitsUploadInvalid"},
		{"nothing", nil, nil, "CF-AppBitsUploadInvalid"},
		{"path that escapes", zipOf(t, map[string][]byte{"../evil": nil}), nil, "CF-AppBitsUploadInvalid"},
		{"too large", noise, nil, "CF-AppPackageInvalid"},
		{"unknown resource", nil, []any{known}, "CF-AppBitsUploadInvalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := c.upload("dev", "/v3/packages/"+pkg+"/upload", tt.bits, tt.resources)
			if got.status < 400 || got.get("errors.0.title") != tt.title {
				t.Errorf("%d %s, want %s", got.status, got.body, tt.title)
			}
			if state := c.admin("GET", "/v3/packages/"+pkg, nil).get("state"); state != "AWAITING_UPLOAD" {
				t.Errorf("the package is %s", state)
			}
			if err := p.blobs.List(t.Context(), func(i blob.Info) bool { t.Errorf("blob %s is left", i.Digest); return true }); err != nil {
				t.Error(err)
			}
		})
	}
	c.admin("POST", "/v3/builds", map[string]any{"package": map[string]any{"guid": pkg}}).
		fails(cf.ErrInvalidRequest, "Bad request: Cannot stage package whose state is not ready.")
}

// TestMatchedResources uploads a large file once.
func TestMatchedResources(t *testing.T) {
	p := newServer(t)
	c := p.cloud()
	large := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	sum := sha1.Sum(large) //nolint:gosec // see above
	resources := []any{map[string]any{
		"checksum": map[string]any{"value": hex.EncodeToString(sum[:])}, "size_in_bytes": len(large), "path": "large.bin", "mode": "644",
	}}
	match := func(user string) string {
		return c.as(user, "POST", "/v3/resource_matches", map[string]any{"resources": resources}).want(http.StatusCreated).get("resources.0.path")
	}
	if got := match("dev"); got != "" {
		t.Errorf("before the upload %q is known", got)
	}
	app := c.newApp("dev-space", "a")
	c.upload("dev", "/v3/packages/"+c.newPackage(app)+"/upload", zipOf(t, map[string][]byte{"large.bin": large}), nil).want(http.StatusOK)
	if got := match("dev"); got != "large.bin" {
		t.Errorf("after the upload %q is known", got)
	}
	if got := match("stranger"); got != "" {
		t.Errorf("a user of no space learns of %q", got)
	}
	second := c.newPackage(app)
	c.upload("dev", "/v3/packages/"+second+"/upload", zipOf(t, map[string][]byte{"small": []byte("x")}), resources).want(http.StatusOK)
	down := c.as("dev", "GET", "/v3/packages/"+second+"/download", nil).want(http.StatusOK)
	z, err := zip.NewReader(bytes.NewReader(down.body), int64(len(down.body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if r, err := f.Open(); err != nil {
			t.Error(err)
		} else if content, err := io.ReadAll(r); err != nil || f.Name == "large.bin" && !bytes.Equal(content, large) {
			t.Errorf("%s has %d bytes: %v", f.Name, len(content), err)
		}
	}
	if len(z.File) != 2 {
		t.Errorf("%d files in the package, want 2", len(z.File))
	}
}

func TestRefusedDroplets(t *testing.T) {
	c := newServer(t).cloud()
	app := c.newApp("dev-space", "a")
	for name, bits := range map[string][]byte{
		"no gzip": []byte("plain"), "cut off": dropletFile("x")[:60], "nothing": nil,
	} {
		d := c.admin("POST", "/v3/droplets", rel(nil, map[string]any{"app": data(app)})).want(http.StatusCreated).guid()
		c.upload("dev", "/v3/droplets/"+d+"/upload", bits, nil).fails(cf.ErrBitsInvalid, "")
		if got := c.admin("GET", "/v3/droplets/"+d, nil).get("state"); got != "AWAITING_UPLOAD" {
			t.Errorf("%s: the droplet is %s", name, got)
		}
	}
}
