package consensus

// rememberedRequests is how many of the latest request ids are remembered for
// safe retries. At 2,000 writes a second that is 8 s; a proposer gives up
// after at most 5 s without a leader.
const rememberedRequests = 16384

// requestMemory holds the outcomes of the latest requests, oldest first. It
// is part of the replicated state: all members forget the same ones.
type requestMemory struct {
	order []string // ring, next is the oldest once full
	next  int
	byID  map[string]outcome
}

// requestEntry is a remembered request in a snapshot.
type requestEntry struct {
	ID      string  `json:"id"`
	Outcome outcome `json:"outcome"`
}

func newRequestMemory() *requestMemory {
	return &requestMemory{byID: map[string]outcome{}}
}

func (m *requestMemory) get(id string) (outcome, bool) {
	if id == "" {
		return outcome{}, false
	}
	o, ok := m.byID[id]
	return o, ok
}

func (m *requestMemory) put(id string, o outcome) {
	if id == "" {
		return
	}
	if len(m.order) < rememberedRequests {
		m.order = append(m.order, id)
	} else {
		delete(m.byID, m.order[m.next])
		m.order[m.next] = id
		m.next = (m.next + 1) % rememberedRequests
	}
	m.byID[id] = o
}

// entries returns the remembered requests, oldest first.
func (m *requestMemory) entries() []requestEntry {
	out := make([]requestEntry, 0, len(m.order))
	for i := range m.order {
		id := m.order[(m.next+i)%len(m.order)]
		out = append(out, requestEntry{id, m.byID[id]})
	}
	return out
}
