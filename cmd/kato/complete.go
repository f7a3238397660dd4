package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// completeTimeout bounds what the agent is asked while a shell waits.
const completeTimeout = time.Second

// completion is the signature of cobra's completion functions.
type completion = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

func (a *app) completeNodes(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
	defer cancel()
	nodes, err := a.cluster(c).Nodes(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, n := range nodes {
		if !slices.Contains(args, n.Name) {
			out = append(out, cobra.CompletionWithDesc(n.Name, n.Address))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeRoles offers roles at once and groups when the agent answers.
func (a *app) completeRoles(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, r := range node.Roles() {
		if !slices.Contains(args, string(r.Role)) {
			out = append(out, cobra.CompletionWithDesc(string(r.Role), r.Description))
		}
	}
	ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
	defer cancel()
	groups, err := a.cluster(c).Groups(ctx)
	if err != nil { // an agent that is down: roles alone are useful
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	for _, g := range groups {
		out = append(out, cobra.CompletionWithDesc(g.Name, "group: "+g.Roles.String()))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeProcesses(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeWith(c, args, func(ctx context.Context, l *local.Client) ([]string, error) {
		procs, err := l.Processes(ctx, false)
		var names []string
		for _, p := range procs {
			names = append(names, p.Name)
		}
		return names, err
	})
}

func (a *app) completeKeys(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeWith(c, args, func(ctx context.Context, l *local.Client) ([]string, error) {
		entries, err := l.ConfigList(ctx, "")
		var names []string
		for _, e := range entries {
			names = append(names, e.Key)
		}
		return names, err
	})
}

func (a *app) completeTokens(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeWith(c, args, func(ctx context.Context, l *local.Client) ([]string, error) {
		tokens, err := l.TokenList(ctx)
		var names []string
		for _, t := range tokens {
			names = append(names, t.ID)
		}
		return names, err
	})
}

// completeWith offers one name that the agent knows, as the only argument.
func (a *app) completeWith(c *cobra.Command, args []string, names func(context.Context, *local.Client) ([]string, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
	defer cancel()
	out, err := names(ctx, a.client(c))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// onlyFirst limits a completion to the first argument.
func onlyFirst(f completion) completion {
	return func(c *cobra.Command, args []string, to string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, to)
	}
}
