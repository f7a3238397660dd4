package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sync/errgroup"
)

// LoadImage gives an image of this machine's Docker Engine to the engine of
// every node that is on, under the same name. It does nothing on nodes that
// have it.
func (c *Cluster) LoadImage(ctx context.Context, image string) error {
	nodes, err := c.lacking(ctx, image)
	if err != nil || len(nodes) == 0 {
		return err
	}
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	archive := dir + "/image.tar"
	if _, err := docker(ctx, "save", "--output", archive, image); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		g.Go(func() error { return n.loadImage(ctx, archive) })
	}
	return g.Wait()
}

// lacking lists the nodes that are on and do not have an image.
func (c *Cluster) lacking(ctx context.Context, image string) ([]*Node, error) {
	var out []*Node
	for _, n := range c.Nodes() {
		if n.hostPID() == 0 {
			continue
		}
		found, err := n.Exec(ctx, "docker", "image", "ls", "--quiet", image)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(found) == "" {
			out = append(out, n)
		}
	}
	return out, nil
}

func (n *Node) loadImage(ctx context.Context, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, "docker", "exec", "--interactive", n.Container, "docker", "load")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: docker load: %w: %s", n.Name, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
