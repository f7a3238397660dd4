package member

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxPerRound bounds how many missing seeds one round contacts. Whoever
// answers tells about the rest.
const maxPerRound = 3

// rejoin contacts seeds that are not alive in this member's view, until ctx
// ends. It heals what gossip alone cannot: a start with nobody up yet, and two
// sides of a partition that have given each other up.
func (g *Gossip) rejoin(ctx context.Context) {
	if err := g.await(ctx); err != nil {
		return
	}
	changed, stop := g.Subscribe()
	defer stop()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = g.timing.rejoinMin, g.timing.rejoinMax
	pause.Multiplier, pause.RandomizationFactor = 2, 0.5
	for {
		missing := g.missing()
		if len(missing) == 0 {
			// Look again when the view changes, or the table of seeds may have.
			pause.Reset()
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-time.After(g.timing.rejoinMax):
			}
		} else {
			g.contact(ctx, missing)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// contact joins some of the missing seeds.
func (g *Gossip) contact(ctx context.Context, missing []string) {
	rand.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
	picked := missing[:min(len(missing), maxPerRound)]
	n, err := g.Join(ctx, picked)
	if ctx.Err() != nil {
		return
	}
	g.stats.rejoins.Add(1)
	switch {
	case n > 0:
		g.log.Info("contacted nodes that gossip missed", "answered", n, "missing", len(missing))
	case g.NumAlive() <= 1:
		g.aloneLog.Do(func() {
			g.log.Warn("no other node answers gossip; trying on", "tried", picked, "error", err,
				"hint", "check that the nodes run and that UDP and TCP to this port pass between them")
		})
	default:
		g.log.Debug("missing nodes do not answer gossip", "tried", picked, "error", err)
	}
}

// missing returns the seeds that are not alive in this member's view.
func (g *Gossip) missing() []string {
	seeds := g.cfg.Seeds()
	if len(seeds) == 0 {
		return nil
	}
	known := map[netip.AddrPort]bool{}
	for _, m := range g.Members() {
		if m.State == Alive || m.State == Suspect {
			known[m.Addr] = true
		}
	}
	var out []string
	for _, s := range seeds {
		a, err := netip.ParseAddrPort(s)
		if err != nil || !known[netip.AddrPortFrom(a.Addr().Unmap(), a.Port())] {
			out = append(out, s)
		}
	}
	return out
}
