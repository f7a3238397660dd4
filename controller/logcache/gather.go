package logcache

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// gatherer asks nodes and remembers which of them are slow.
type gatherer struct {
	nodes                     Nodes
	log                       *slog.Logger
	within, slowFor, slowWait time.Duration

	mu   sync.Mutex
	slow map[string]time.Time // node → until when it is not waited for
}

// result is what one node said.
type result struct {
	lines []logs.Line
	more  bool
}

// read returns the app's lines of all nodes that answer in time, in the order
// asked for.
func (g *gatherer) read(ctx context.Context, req logs.ReadRequest) []logs.Line {
	nodes := g.nodes.LogNodes(req.AppGUID)
	results := make([]result, len(nodes))
	var wg sync.WaitGroup
	for i, node := range nodes {
		wg.Go(func() { results[i] = g.ask(ctx, node, req) })
	}
	wg.Wait()
	return merge(results, req)
}

// ask asks one node, within the time that it is given.
func (g *gatherer) ask(ctx context.Context, node string, req logs.ReadRequest) result {
	within := g.within
	wasSlow := g.isSlow(node)
	if wasSlow {
		within = g.slowWait
	}
	call, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	got, err := g.nodes.ReadLogs(call, node, req)
	if ctx.Err() != nil {
		return result{} // the client has gone, nothing is known about the node
	}
	late := errors.Is(call.Err(), context.DeadlineExceeded)
	if err == nil {
		g.remember(node, false)
		return result{got.Lines, got.More}
	}
	if late && !wasSlow {
		g.remember(node, true)
	}
	if !wasSlow { // else it was said
		g.log.Warn("logs of a node are missing in an answer", "node", node, "app", req.AppGUID, "error", err)
	}
	return result{}
}

func (g *gatherer) isSlow(node string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.slow[node]
	if ok && time.Now().After(until) {
		delete(g.slow, node)
		ok = false
	}
	return ok
}

func (g *gatherer) remember(node string, slow bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slow {
		g.slow[node] = time.Now().Add(g.slowFor)
	} else {
		delete(g.slow, node)
	}
}

// merge puts the nodes' lines in one order, that of time and then of nodes, and
// keeps as many as were asked for. A client goes on behind the time of the last
// line, so lines that the answer must not pass over end it: those that a node
// has left out, and those with the same time as one that is left out here.
func merge(results []result, req logs.ReadRequest) []logs.Line {
	sign := 1
	if req.Descending {
		sign = -1
	}
	var all []logs.Line
	for _, r := range results {
		all = append(all, r.lines...)
	}
	slices.SortStableFunc(all, func(a, b logs.Line) int { return sign * cmp.Compare(a.Time, b.Time) })
	for _, r := range results {
		if !r.more || len(r.lines) == 0 {
			continue
		}
		last := r.lines[len(r.lines)-1].Time
		for len(all) > 0 && sign*cmp.Compare(all[len(all)-1].Time, last) > 0 {
			all = all[:len(all)-1]
		}
	}
	if len(all) <= req.Limit {
		return all
	}
	keep := req.Limit
	for keep > 1 && all[keep-1].Time == all[req.Limit].Time {
		keep--
	}
	if all[keep-1].Time == all[req.Limit].Time { // more of one time than the limit
		keep = req.Limit
	}
	return all[:keep]
}
