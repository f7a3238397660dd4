package api

import (
	"net/http"
	"testing"
)

// TestBuildsAreAsLargeAsTheirApp: what a failed build tells developers to do,
// to give the app more, helps the build.
func TestBuildsAreAsLargeAsTheirApp(t *testing.T) {
	p := newServer(t)
	c := p.cloud()
	for name, tt := range map[string]struct {
		scale        map[string]any
		memory, disk string
	}{
		"small": {map[string]any{"memory_in_mb": 64, "disk_in_mb": 64}, "1024", "4096"},
		"large": {map[string]any{"memory_in_mb": 2048, "disk_in_mb": 6144}, "2048", "6144"},
	} {
		app := c.newApp("dev-space", name)
		pkg := c.newPackage(app)
		c.upload("dev", "/v3/packages/"+pkg+"/upload", zipOf(t, map[string][]byte{"index.html": []byte("hello")}), nil).want(http.StatusOK)
		c.as("dev", "POST", "/v3/apps/"+app+"/processes/web/actions/scale", tt.scale).want(http.StatusAccepted)
		b := c.as("dev", "POST", "/v3/builds", map[string]any{"package": map[string]any{"guid": pkg}}).want(http.StatusCreated)
		if memory, disk := b.get("staging_memory_in_mb"), b.get("staging_disk_in_mb"); memory != tt.memory || disk != tt.disk {
			t.Errorf("with %v a build gets %s MB of memory and %s of disk, want %s and %s", tt.scale, memory, disk, tt.memory, tt.disk)
		}
	}
}
