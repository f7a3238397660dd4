// Command cluster keeps a Stackato cluster on this machine, each node a
// container: what make cluster and make cluster-stop call.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var name string
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A Stackato cluster on this machine, each node a container",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&name, "name", "dev", "which cluster; several can run side by side")
	full := func() string { return "stackato-" + name }

	nodes, stack := 5, ""
	up := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster and form it; start what is off when it exists",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), full(), nodes, stack) },
	}
	up.Flags().StringVar(&stack, "stack", "", "stack image of this machine to give to the nodes, for apps")
	up.Flags().IntVar(&nodes, "nodes", nodes, "how many nodes; the first three become controllers")

	down := &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster with all its data",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return down(cmd.Context(), full()) },
	}
	status := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster's nodes and how to use them",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return status(cmd.Context(), full()) },
	}
	var run string
	sweep := &cobra.Command{
		Use:   "sweep",
		Short: "Remove what killed test runs have left",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			count, err := cluster.Sweep(cmd.Context(), run)
			fmt.Printf("%d containers, networks and volumes removed\n", count)
			return err
		},
	}
	sweep.Flags().StringVar(&run, "run", "", "everything of this test run, also of one that goes on")
	root.AddCommand(up, down, status, sweep)
	return root
}

// options of the clusters that this command keeps.
func options(nodes int) cluster.Options {
	return cluster.Options{
		Nodes:        nodes,
		RestartAgent: true,
		Logf:         func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	}
}

func up(ctx context.Context, name string, nodes int, stack string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	start := time.Now()
	c, err := cluster.Load(ctx, name, options(nodes))
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		c, err = form(ctx, name, nodes)
	case err == nil:
		err = resume(ctx, c, nodes)
	}
	if err != nil {
		return err
	}
	if stack != "" {
		if err := useStack(ctx, c, stack); err != nil {
			return err
		}
	}
	fmt.Printf("%s is up after %s\n\n", name, time.Since(start).Round(100*time.Millisecond))
	return describe(ctx, c)
}

// useStack lets the cluster stage and run apps in an image of this machine.
func useStack(ctx context.Context, c *cluster.Cluster, image string) error {
	fmt.Println("giving the nodes the stack image", image)
	if err := c.LoadImage(ctx, image); err != nil {
		return err
	}
	_, err := c.Node(0).Exec(ctx, "kato", "config", "set", "--string", "cloud/stack_image", image)
	return err
}

// form makes a new cluster. When it does not come about, nothing stays.
func form(ctx context.Context, name string, nodes int) (*cluster.Cluster, error) {
	c, err := cluster.Create(ctx, name, options(nodes))
	if err != nil {
		return nil, err
	}
	forming, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err = c.Form(forming)
	if err == nil {
		fmt.Println("waiting until every role runs")
		err = c.WaitHealthy(forming)
	}
	if err == nil {
		return c, nil
	}
	for _, n := range c.Nodes() {
		fmt.Fprintf(os.Stderr, "end of the agent's log on %s:\n%s\n", n.Name, n.AgentLog(15))
	}
	clean, cancelClean := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancelClean()
	return nil, fmt.Errorf("the cluster did not form and was removed again: %w", errors.Join(err, c.Remove(clean)))
}

// resume brings an existing cluster back as it was.
func resume(ctx context.Context, c *cluster.Cluster, nodes int) error {
	if have := len(c.Nodes()); have != nodes {
		return fmt.Errorf("%s exists with %d nodes, not %d; remove it first with: make cluster-stop", c.Name, have, nodes)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := c.Resume(ctx)
	if err == nil {
		err = c.WaitMembers(ctx, nodes)
	}
	if err != nil {
		return fmt.Errorf("%s exists but does not come up; look with docker exec %s kato status -a, or remove it with make cluster-stop: %w",
			c.Name, c.Node(0).Container, err)
	}
	return nil
}

func down(ctx context.Context, name string) error {
	c, err := cluster.Load(ctx, name, options(1))
	if errors.Is(err, cluster.ErrNotFound) {
		fmt.Printf("%s does not exist: nothing to remove\n", name)
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.Remove(ctx); err != nil {
		return err
	}
	fmt.Printf("%s is removed with its %d nodes and their data\n", name, len(c.Nodes()))
	return nil
}

func status(ctx context.Context, name string) error {
	c, err := cluster.Load(ctx, name, options(1))
	if errors.Is(err, cluster.ErrNotFound) {
		return fmt.Errorf("%s does not exist; make it with: make cluster NODES=5", name)
	}
	if err != nil {
		return err
	}
	return describe(ctx, c)
}
