package health

import (
	"fmt"
	"strings"
	"time"
)

// Reasons says in at most that many sentences why what runs differs from what
// is asked: the same reason of several instances once.
func (d Difference) Reasons(most int) []string {
	var order []string
	indexes := map[string][]int{}
	for _, m := range d.Missing {
		why := m.Reason
		if !m.Retry.IsZero() {
			why = strings.TrimSuffix(why, ".") + ", and is started again at " + m.Retry.UTC().Format(time.TimeOnly) + " UTC."
		}
		if indexes[why] == nil {
			order = append(order, why)
		}
		indexes[why] = append(indexes[why], m.Index)
	}
	var out []string
	for _, why := range order {
		out = append(out, instances(indexes[why])+": "+why)
	}
	if n := len(d.Extra); n > 0 {
		out = append(out, fmt.Sprintf("%d run that nobody asks for, or of another version; they are being stopped.", n))
	}
	if len(out) > most {
		out = append(out[:most-1:most-1], fmt.Sprintf("%d more reasons.", len(out)-most+1))
	}
	return out
}

// instances names instances by their index, the first few if they are many.
func instances(indexes []int) string {
	const most = 5
	var out []string
	for _, i := range indexes[:min(most, len(indexes))] {
		out = append(out, fmt.Sprintf("#%d", i))
	}
	text := strings.Join(out, " ")
	if more := len(indexes) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
