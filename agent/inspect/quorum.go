package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// Bounds of the quorum check: a follower further behind than that serves old
// answers or waits long.
const (
	lagWarn     = 1000 // log entries
	contactWarn = time.Second
)

// Voter is a node with a vote.
type Voter struct {
	Name  string
	Alive bool // it answered by RPC just now
}

// Quorum is how the consensus group fares, as this node sees it.
type Quorum struct {
	Primary string // name, "" if there is none
	Voters  []Voter

	// Of this node's own part; zero on nodes without one.
	Member          bool
	Leads           bool
	Applied, Commit uint64        // log index
	LastContact     time.Duration // age of the Primary's last sign of life
}

func (env Env) quorum(ctx context.Context) []local.Finding {
	if !env.Configured || env.Quorum == nil {
		return env.nothing()
	}
	q, err := env.Quorum(ctx)
	if err != nil {
		return failed("see which controllers answer: kato status -a", "no controller tells how the voters fare: %v", err)
	}
	controllers := 0
	for _, n := range env.Nodes {
		if n.Roles.Has(node.Controller) && !n.Leaving {
			controllers++
		}
	}
	return append(judgeVoters(q, controllers, env.Micro), judgeLag(q)...)
}

func judgeVoters(q Quorum, controllers int, micro bool) []local.Finding {
	var dead []string
	for _, v := range q.Voters {
		if !v.Alive {
			dead = append(dead, v.Name)
		}
	}
	n := len(q.Voters)
	alive, need := n-len(dead), n/2+1
	const back = "bring them back; a voter that is gone for good is replaced by itself if there is another controller, else: kato node remove"
	var out []local.Finding
	switch {
	case n == 0:
		return failed("see which controllers answer: kato status -a", "no voter is known")
	case alive < need:
		return failed("bring back at least "+fmt.Sprint(need-alive)+" of them: see docs/operator/cluster.md, \"When the majority of voters is lost\"",
			"%d of %d voters answer, %d are needed: %s away. Nothing can be changed", alive, n, need, list(dead))
	case q.Primary == "":
		out = failed("wait 10 s and look again; if it stays so: kato inspect clock disk gossip on each controller", "there is no Primary, though %d of %d voters answer", alive, n)
	case len(dead) > 0:
		out = warned(back, "%d of %d voters answer: %s away. Primary is %s", alive, n, list(dead), q.Primary)
	default:
		out = ok("%d of %d voters answer, Primary is %s", alive, n, q.Primary)
	}
	return append(out, judgeRedundancy(n, controllers, micro)...)
}

func judgeRedundancy(voters, controllers int, micro bool) []local.Finding {
	switch {
	case voters < 3 && controllers >= 3:
		return warned("wait: a new controller gets its vote when it has caught up; if it stays so: kato status -a",
			"not redundant: %s of %d controllers", countVoters(voters), controllers)
	case voters < 3 && micro:
		return ok("not redundant: %s, as a micro cloud is", countVoters(voters))
	case voters < 3:
		return warned(fmt.Sprintf("have three controllers, %d more: kato role add controller --node N", 3-controllers), "not redundant: %s", countVoters(voters))
	}
	return nil
}

func countVoters(n int) string {
	if n == 1 {
		return "1 voter"
	}
	return fmt.Sprintf("%d voters", n)
}

func judgeLag(q Quorum) []local.Finding {
	if !q.Member || q.Leads {
		return nil
	}
	const remedy = "see whether this node's disk is slow (kato inspect disk) and the way to the Primary is open (7300/tcp)"
	if q.Commit > q.Applied+lagWarn {
		return warned(remedy, "this node is %d log entries behind", q.Commit-q.Applied)
	}
	if q.LastContact > contactWarn {
		return warned(remedy, "this node has not heard of the Primary for %s", round(q.LastContact))
	}
	return nil
}
