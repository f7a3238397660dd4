package deploy

import "github.com/stackato/stackato/controller/cf"

// rollout works out the next counts of a process' jobs while one version
// replaces others. It is pure; instances are numbered from 0 in each job, and
// Nomad takes the highest numbers when a count shrinks.
type rollout struct {
	// want is how many instances were asked for, limit how many the new
	// version may have now (fewer for a canary, else want).
	want, limit int
	// spare is how many old instances are kept beyond want: a canary comes
	// on top.
	spare    int
	inFlight int
	// keepSlots keeps want places in all, ready or not: old instances that
	// are not ready may become so. A deployment that is called off gives
	// them up at once.
	keepSlots bool
	next      version
	// old versions, the one to keep longest first.
	old []version
}

// version is one job of a process and what runs of it.
type version struct {
	name  string
	count int // of the job; 0 if there is none
	// ready[i]: instance i is ready and in the routers' tables. fresh[i]: it
	// is ready, but has not been for long enough.
	ready, fresh map[int]bool
}

// readyBelow counts the ready instances among the first n.
func (v version) readyBelow(n int) int {
	have := 0
	for i, ok := range v.ready {
		if ok && i < n {
			have++
		}
	}
	return have
}

// grown is the count that the new version's job should have: at most inFlight
// instances are on their way.
func (r *rollout) grown() int {
	return min(r.limit, max(r.next.count, r.next.readyBelow(r.next.count)+r.inFlight))
}

// shrunk are the counts that the old versions' jobs should have, in the order
// of old. No count grows. As many instances are ready with them as are asked
// for, or as many as now.
func (r *rollout) shrunk() []int {
	// An instance that the new job is about to lose does not count.
	short := max(r.want+r.spare-r.next.readyBelow(min(r.next.count, r.limit)), 0)
	ready, slots := short, short
	if !r.keepSlots {
		slots = 0
	}
	out := make([]int, len(r.old))
	for i, v := range r.old {
		n := v.leastFor(ready)
		n = max(n, min(v.count, slots))
		ready -= min(ready, v.readyBelow(n))
		slots -= min(slots, n)
		out[i] = n
	}
	return out
}

// leastFor returns the smallest count that keeps need ready instances. If there
// are not as many, it keeps all of them, and those that are about to be.
func (v version) leastFor(need int) int {
	least, have := 0, 0
	for i := 0; i < v.count && have < need; i++ {
		if v.ready[i] {
			have++
		}
		if v.ready[i] || v.fresh[i] {
			least = i + 1
		}
	}
	return least
}

// reached reports whether the new version has as many ready instances as it
// may have now.
func (r *rollout) reached() bool {
	return r.next.count >= r.limit && r.next.readyBelow(r.limit) >= r.limit
}

// done reports whether nothing old is left and everything new is ready.
func (r *rollout) done() bool { return r.gone() && r.limit >= r.want && r.reached() }

// gone reports whether nothing of the old versions is left.
func (r *rollout) gone() bool {
	for _, v := range r.old {
		if v.count > 0 {
			return false
		}
	}
	return true
}

// canary limits the rollout to the deployment's step; false: it is past them.
func (r *rollout) canary(d cf.Deployment) bool {
	steps := d.CanarySteps
	switch {
	case d.CanaryStep > max(len(steps), 1):
		return false
	case len(steps) == 0:
		r.limit, r.spare = min(1, r.want), 1
	default:
		r.limit = canaryLimit(r.want, steps[max(d.CanaryStep, 1)-1])
		if r.limit < r.want {
			r.spare = 1
		}
	}
	return true
}

// canaryLimit is how many of want instances a step of a canary deployment has:
// Cloud Foundry rounds, and one is the least.
func canaryLimit(want, weight int) int {
	return min(max((want*weight+50)/100, 1), want)
}
