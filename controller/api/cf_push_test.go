package api

import (
	"testing"
)

// TestPushWithTheRealClient pushes with the unmodified cf client.
func TestPushWithTheRealClient(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.cf("push", "hello").has("Staging app and tracing logs...", "name: hello", "requested state: started",
		"routes: hello.stackato.test", "instances: 1/1", "memory usage: 256M", "#0 running")
	p.cf("app", "hello").has("#0 running", "buildpacks:", "staticfile 1.0", "stack: stackato")
	p.cf("apps").has("hello started web:1/1 hello.stackato.test")
}
