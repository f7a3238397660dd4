package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// systemTrust is the stack's own file of trusted authorities.
const systemTrust = "/etc/ssl/certs/ca-certificates.crt"

// writeTrust writes the file of authorities that buildpacks trust: the node's,
// and the cluster's further ones. It returns the name of the file.
func (s *stager) writeTrust(ctx context.Context, further string) (string, error) {
	bundle, err := s.fence.certificates(ctx)
	if err != nil {
		return "", fmt.Errorf("fetching the trusted certificates: %w", err)
	}
	if len(bytes.TrimSpace(bundle)) == 0 {
		if bundle, err = os.ReadFile(s.system); err != nil && !os.IsNotExist(err) {
			return "", err
		}
	}
	if len(bundle) > 0 && bundle[len(bundle)-1] != '\n' {
		bundle = append(bundle, '\n')
	}
	bundle = append(bundle, further...)
	if err := os.MkdirAll(filepath.Dir(s.trust), 0o755); err != nil {
		return "", err
	}
	// Everybody in the container may read it.
	if err := os.WriteFile(s.trust, bundle, 0o644); err != nil {
		return "", err
	}
	return s.trust, writeJavaTrust(s.java, bundle, time.Now())
}
