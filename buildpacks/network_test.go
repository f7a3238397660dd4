package buildpacks

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestNetworkFailures: lines of npm 9 and Go, as they came.
func TestNetworkFailures(t *testing.T) {
	const fetch = `main.go:2:8: golang.org/x/text@v0.14.0: Get "https://proxy.golang.org/golang.org/x/text/@v/v0.14.0.zip": `
	for _, tt := range []struct{ name, says, want string }{
		{"npm: no such host", "npm ERR! code EAI_AGAIN\nnpm ERR! syscall getaddrinfo\n", "the registry cannot be reached from here: name one that can be in REGISTRY (cf set-env), ask an operator for a proxy (cloud/staging_http_proxy), or walk"},
		{"npm: certificate", "npm ERR! code DEPTH_ZERO_SELF_SIGNED_CERT\n", "cloud/certificates"},
		{"npm: no such package", "npm ERR! code E404\nnpm ERR! 404  'left-pod@1' is not in this registry.\n", ""},
		{"go: no such host", fetch + "dial tcp: lookup proxy.golang.org on 10.255.255.53:53: dial udp 10.255.255.53:53: connect: network is unreachable\n", "cannot be reached"},
		{"go: proxy", fetch + "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused\n", "cloud/staging_no_proxy"},
		{"go: certificate", fetch + "x509: certificate signed by unknown authority\n", "cloud/certificates"},
		{"go: does not compile", "./main.go:3:6: undefined: x509\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t, nil)
			a.Run = func(_ context.Context, c Command) error {
				_, _ = c.Watch.Write([]byte(tt.says))
				return errors.New("exit status 1")
			}
			err := upstream{"the registry", "REGISTRY", "walk"}.run(t.Context(), a.Context, Command{})
			if err == nil || !strings.HasPrefix(err.Error(), "exit status 1") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if tt.want == "" && err.Error() != "exit status 1" {
				t.Errorf("%v, though it is not the network", err)
			}
		})
	}
}
