package inspect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stackato/stackato/agent/local"
)

// How far clocks may be apart. Certificates are dated back five minutes and a
// join is refused beyond 30 s.
const (
	clockWarn = time.Second
	clockFail = 30 * time.Second
)

// earliest is before this program was written: a clock before it is not set.
var earliest = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Offset is another node's clock minus ours, corrected for the way there.
type Offset struct {
	Node   string // name
	Offset time.Duration
	Err    error // it did not answer
}

func (env Env) clock(ctx context.Context) []local.Finding {
	now := env.Now()
	if now.Before(earliest) {
		return failed(setClock, "the clock says %s, it is not set", now.UTC().Format(time.DateTime))
	}
	switch {
	case env.Configured && env.Clocks == nil:
		return env.nothing()
	case !env.Configured:
		return ok("%s; there is no other clock to compare with", now.UTC().Format(time.DateTime))
	}
	offsets, err := env.Clocks(ctx)
	if err != nil {
		return warned("see whether the others are there: kato status -a", "the other nodes could not be asked for their time: %v", err)
	}
	return judgeClock(offsets)
}

const setClock = "set this machine's clock and run a time service, such as: apt-get install chrony"

func judgeClock(offsets []Offset) []local.Finding {
	var answered []Offset
	var silent []string
	for _, o := range offsets {
		if o.Err != nil {
			silent = append(silent, o.Node)
		} else {
			answered = append(answered, o)
		}
	}
	note := ""
	if len(silent) > 0 {
		note = "; no answer from " + list(silent)
	}
	switch {
	case len(offsets) == 0:
		return ok("there is no other node to compare with")
	case len(answered) == 0:
		return warned("see whether they are there: kato status -a", "no other node told its time%s", note)
	}
	worst := slices.MaxFunc(answered, func(a, b Offset) int { return int(a.Offset.Abs()/1000 - b.Offset.Abs()/1000) })
	detail := fmt.Sprintf("at most %s off (%s), %d asked%s", round(worst.Offset), worst.Node, len(offsets), note)

	var far []string
	for _, o := range answered {
		if o.Offset.Abs() > clockWarn {
			far = append(far, fmt.Sprintf("%s by %s", o.Node, round(o.Offset)))
		}
	}
	remedy := "set the clock there and run a time service, such as: apt-get install chrony"
	if 2*len(far) > len(answered) { // most disagree with us
		remedy = setClock
	}
	switch {
	case worst.Offset.Abs() > clockFail:
		return failed(remedy, "clocks differ: %s%s", list(far), note)
	case len(far) > 0:
		return warned(remedy, "clocks differ: %s%s", list(far), note)
	}
	return ok("%s", detail)
}

// round shortens a duration for people.
func round(d time.Duration) time.Duration {
	switch {
	case d.Abs() < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case d.Abs() < 10*time.Second:
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}
