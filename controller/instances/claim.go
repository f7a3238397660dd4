package instances

import (
	"context"
	"time"

	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// Placements says where the scheduler has placed allocations. Its methods are
// safe for concurrent use.
type Placements interface {
	// Placed returns what the scheduler says of the allocations; what it does
	// not know is left out. An error means that it could not be asked.
	Placed(ctx context.Context, ids []string) (map[string]instance.Placement, error)
}

// Owner tells whose a version of a process, or a task (version ""), is: app
// GUID and type ("" for a task). ok is false for what is not known here (yet).
type Owner func(process, version string) (app, kind string, ok bool)

// What a node may claim, and how often it is looked into.
const (
	maxClaims     = 10_000 // of one node, at a time
	maxClaimBytes = 8 << 10
	askAtOnce     = 200 // allocations
	askLiar       = 5   // of a node that has claimed what is not its own
	askWithin     = 10 * time.Second
	askPause      = 100 * time.Millisecond // after an error, doubled up to …
	askPauseMax   = 2 * time.Second
	retryRow      = 100 * time.Millisecond // what the rows do not show yet
	retryRefused  = 30 * time.Second
	retryLiar     = time.Second
	auditEvery    = 5 * time.Second
	auditAfter    = time.Minute // since an instance was looked into
	complainEvery = time.Minute // of one node
)

// claim is an instance that a node reports and that nobody has confirmed: it
// gets no request and counts nowhere.
type claim struct {
	status  instance.Status
	place   *instance.Placement // as the scheduler says; nil: not asked yet
	refused bool
	due     time.Time // when it is looked into (again)
}

// admission is what is known of an instance beside what its node says.
type admission struct {
	checked  time.Time
	stopping bool // when it was checked
}

// same reports whether two reports are of the same thing: then what was
// confirmed of the one holds for the other.
func same(a, b instance.Status) bool {
	return a.AllocID == b.AllocID && a.Node == b.Node && a.AppGUID == b.AppGUID && a.ProcessGUID == b.ProcessGUID &&
		a.ProcessType == b.ProcessType && a.Version == b.Version && a.Index == b.Index
}

// believe reports whether a node's word is taken at once; else it is noted
// as a claim. The lock is held.
func (t *Table) believe(s instance.Status, changed map[string]struct{}) bool {
	if t.cfg.Placements == nil {
		return true
	}
	if was, ok := t.all[s.AllocID]; ok && same(was, s) {
		return true
	}
	t.forget(s.AllocID, changed) // it says that it is another one now
	claims := t.claims[s.Node]
	if claims == nil {
		claims = map[string]*claim{}
		t.claims[s.Node] = claims
	}
	c := claims[s.AllocID]
	switch {
	case c != nil && same(c.status, s):
		c.status = s
	case c == nil && len(claims) >= maxClaims, textOf(s) > maxClaimBytes:
		t.complain(s, "it reports too much at once")
	default:
		claims[s.AllocID] = &claim{status: s}
		t.wakeClaims()
	}
	return false
}

// textOf is about how much memory a report takes.
func textOf(s instance.Status) int {
	return len(s.AllocID) + len(s.AppGUID) + len(s.ProcessGUID) + len(s.ProcessType) + len(s.Version) + len(s.Address) + len(s.Reason)
}

// unclaim forgets a claim. The lock is held.
func (t *Table) unclaim(node, alloc string) {
	delete(t.claims[node], alloc)
	if len(t.claims[node]) == 0 {
		delete(t.claims, node)
	}
}

// unclaimBut forgets the claims of a node that its snapshot has not. The lock
// is held.
func (t *Table) unclaimBut(node string, keep map[string]struct{}) {
	for alloc := range t.claims[node] {
		if _, ok := keep[alloc]; !ok {
			t.unclaim(node, alloc)
		}
	}
}

// unsettled reports whether it is not yet known of an instance whether it is
// one: routes must not go meanwhile. A node that was found to claim what is
// not its own delays nobody. The lock is held.
func (t *Table) unsettled() bool {
	for node, claims := range t.claims {
		if l := t.liars[node]; l != nil && l.until.After(t.cfg.Now()) {
			continue
		}
		for _, c := range claims {
			if !c.refused && (c.place == nil || !t.timeUp) {
				return true
			}
		}
	}
	return false
}

func (t *Table) wakeClaims() {
	select {
	case t.claimed <- struct{}{}:
	default:
	}
}

// settle looks into claims, and again into what was admitted, until ctx is
// done.
func (t *Table) settle(ctx context.Context) {
	audit := time.NewTicker(auditEvery)
	defer audit.Stop()
	pause, failed := askPause, false
	for ctx.Err() == nil {
		ids, next := t.dueClaims(t.cfg.Now())
		if len(ids) > 0 {
			err := t.ask(ctx, ids, t.decide)
			if err != nil && !failed && ctx.Err() == nil {
				t.cfg.Logger.Warn("the scheduler cannot be asked where instances are; new ones get no requests until it answers", "err", err)
			}
			if failed = err != nil; failed {
				next, pause = pause, min(2*pause, askPauseMax)
			} else {
				pause = askPause
				continue
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-t.claimedUnless(failed):
		case <-timer.C:
		case <-audit.C:
			// An error is no answer: what was admitted stays.
			_ = t.ask(ctx, t.dueAudit(t.cfg.Now()), t.audit)
		}
		timer.Stop()
	}
}

// claimedUnless keeps new claims from asking a scheduler that does not answer.
func (t *Table) claimedUnless(failed bool) <-chan struct{} {
	if failed {
		return nil
	}
	return t.claimed
}

func (t *Table) ask(ctx context.Context, ids []string, take func(ids []string, placed map[string]instance.Placement)) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	placed, err := t.cfg.Placements.Placed(ctx, ids)
	if err == nil {
		take(ids, placed)
	}
	return err
}

// dueClaims returns allocations to ask about, and when the next ones are due.
func (t *Table) dueClaims(now time.Time) (ids []string, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next = time.Hour
	for node, claims := range t.claims {
		liar := t.liars[node]
		lies := liar != nil && liar.until.After(now)
		if lies && liar.next.After(now) {
			next = min(next, liar.next.Sub(now))
			continue
		}
		n := askAtOnce
		if lies {
			n = askLiar
			liar.next = now.Add(retryLiar)
			next = min(next, retryLiar)
		}
		for alloc, c := range claims {
			if c.due.After(now) {
				next = min(next, c.due.Sub(now))
				continue
			}
			if n--; n < 0 || len(ids) >= 10*askAtOnce {
				break
			}
			ids = append(ids, alloc)
		}
	}
	return ids, next
}

// decide admits what is so.
func (t *Table) decide(ids []string, placed map[string]instance.Placement) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := map[string]struct{}{}
	for _, id := range ids {
		for node, claims := range t.claims {
			if c := claims[id]; c != nil && !c.due.After(now) {
				t.decideOne(node, c, placed, now, changed)
			}
		}
	}
	t.publish(changed)
	t.maybeLearned()
}

func (t *Table) decideOne(node string, c *claim, placed map[string]instance.Placement, now time.Time, changed map[string]struct{}) {
	s := c.status
	p, known := placed[s.AllocID]
	c.place = &p
	why := ""
	switch {
	case !known:
		why = "there is no such allocation"
	case p.Node != node:
		why = "the allocation is not on that node"
	case p.Job != jobOf(s):
		why = "the allocation is not one of that process"
	case p.Stopping:
		c.refused, c.due = true, now.Add(retryRefused) // not a lie: it is about to end
		return
	}
	if why == "" {
		app, kind, ok := t.cfg.Owner(s.ProcessGUID, s.Version)
		if !ok { // not replicated yet, or gone with its app
			c.due = now.Add(retryRow)
			return
		}
		if app != s.AppGUID || s.Version != "" && (kind != s.ProcessType || p.Index != s.Index) {
			why = "the process is not one of that app"
		}
	}
	if why != "" {
		c.refused, c.due = true, now.Add(retryRefused)
		if known || s.State != instance.Crashed { // else the scheduler has forgotten what ended
			t.complain(s, why)
		}
		return
	}
	t.unclaim(node, s.AllocID)
	t.admitted[s.AllocID] = admission{checked: now}
	t.put(s, changed)
}

// jobOf is the job whose allocation an instance must be.
func jobOf(s instance.Status) string {
	if s.Version == "" {
		return jobs.TaskID(s.ProcessGUID)
	}
	return jobs.AppID(s.ProcessGUID, s.Version)
}

// dueAudit returns admitted allocations that were not looked into for long.
func (t *Table) dueAudit(now time.Time) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var ids []string
	for id, a := range t.admitted {
		if now.Sub(a.checked) >= auditAfter {
			if ids = append(ids, id); len(ids) == askAtOnce {
				break
			}
		}
	}
	return ids
}

// audit takes away what was to end a minute ago and is still reported: a node
// could keep an app's requests for ever.
func (t *Table) audit(ids []string, placed map[string]instance.Placement) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := map[string]struct{}{}
	for _, id := range ids {
		a, ok := t.admitted[id]
		if !ok {
			continue
		}
		p, known := placed[id]
		stopping := !known || p.Stopping
		if stopping && a.stopping {
			s := t.all[id]
			t.complain(s, "the allocation was to end long ago")
			t.forget(id, changed)
			continue
		}
		t.admitted[id] = admission{checked: now, stopping: stopping}
	}
	t.publish(changed)
}

// liar is a node that has claimed what is not its own.
type liar struct {
	until time.Time // it is taken for one
	next  time.Time // when its claims are looked into
	said  time.Time // when it was last complained of
}

// complain says, once in a while, that a node is not believed. The lock is
// held.
func (t *Table) complain(s instance.Status, why string) {
	l := t.liars[s.Node]
	if l == nil {
		l = &liar{}
		t.liars[s.Node] = l
	}
	now := t.cfg.Now()
	l.until = now.Add(retryRefused)
	if !l.said.IsZero() && now.Sub(l.said) < complainEvery {
		return
	}
	l.said = now
	t.cfg.Logger.Warn("a node reports an instance that it should not have; the instance gets no requests",
		"node", s.Node, "allocation", clip(s.AllocID), "process", clip(s.ProcessGUID), "why", why)
}

// clip bounds what a node makes a log say.
func clip(s string) string { return s[:min(len(s), 64)] }
