package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// checkMachine says what this machine lacks to run nodes.
func checkMachine(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("nodes as containers need root: run this as root")
	}
	for _, tool := range []string{"docker", "nsenter", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: run scripts/packages", tool)
		}
	}
	if _, err := docker(ctx, "info", "--format", "{{.ServerVersion}}"); err != nil {
		return fmt.Errorf("no Docker Engine answers (start one with scripts/docker): %w", err)
	}
	return nil
}

// checkBinaries says what the nodes would miss.
func checkBinaries(binDir string) error {
	for _, program := range []string{"stackato-agent", "kato"} {
		if _, err := exec.LookPath(filepath.Join(binDir, program)); err != nil {
			return fmt.Errorf("%s is missing: build it with make build: %w", program, err)
		}
	}
	return nil
}

// buildImage returns the name of the node image, which packer/rootfs builds
// at its first use on a machine (about a minute).
func buildImage(ctx context.Context, logf func(string, ...any)) (string, error) {
	script, err := repositoryDir("packer/rootfs/image.sh")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, script)
	progress := &lineWriter{logf: logf}
	cmd.Stderr = progress
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", script, err, progress.last)
	}
	return strings.TrimSpace(string(out)), nil
}

// lineWriter hands whole lines to logf and keeps the last one.
type lineWriter struct {
	logf    func(string, ...any)
	partial string
	last    string
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.partial += string(b)
	for {
		line, rest, ok := strings.Cut(w.partial, "\n")
		if !ok {
			return len(b), nil
		}
		w.partial, w.last = rest, line
		w.logf("%s", line)
	}
}

// repositoryDir returns the absolute path of something in this repository.
func repositoryDir(name string) (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("this binary does not know its source directory")
	}
	path := filepath.Join(filepath.Dir(file), "..", "..", name)
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%s: built with -trimpath; build without it, tests need the repository", path)
	}
	return path, nil
}

// randomHex returns eight random digits for a name.
func randomHex() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}
