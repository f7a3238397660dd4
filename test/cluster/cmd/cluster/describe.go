package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// describe prints the nodes of a cluster and how to use it.
func describe(ctx context.Context, c *cluster.Cluster) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tCONTAINER\tIN RAFT\tROLES")
	nodes := c.Nodes()
	for _, n := range nodes {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		info, err := n.Client().Info(ask)
		cancel()
		if err != nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t-\tdoes not answer\n", n.Name, n.Address, n.Container)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, n.Container, info.Voter, info.AssignedRoles)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	first := nodes[0].Container
	fmt.Printf(`
Use it:
  docker exec %[1]s kato status -a        the cluster's roles, node by node
  docker exec -it %[1]s bash              a shell on %[2]s; kato, nomad and consul are on PATH
  docker kill %[1]s && docker start %[1]s   a power loss and its end
  make cluster-stop                                    remove it with all data
`, first, nodes[0].Name)
	return nil
}
