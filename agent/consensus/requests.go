package consensus

// How much is remembered for safe retries: the latest rememberedRequests
// request ids, or fewer when their results take more than rememberedBytes. At
// 2,000 writes a second 16384 requests are 8 s; a proposer gives up after at
// most 5 s without a leader.
const (
	rememberedRequests = 16384
	rememberedBytes    = 8 << 20
)

// requestMemory holds the outcomes of the latest requests. It is part of the
// replicated state: all members forget the same ones.
type requestMemory struct {
	order []string // oldest first, from head on
	head  int
	bytes int
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

// put remembers an outcome. The latest is kept whatever its size.
func (m *requestMemory) put(id string, o outcome) {
	if id == "" {
		return
	}
	if _, dup := m.byID[id]; dup { // only a damaged snapshot could
		return
	}
	m.order = append(m.order, id)
	m.byID[id] = o
	m.bytes += o.size()
	for len(m.byID) > rememberedRequests || m.bytes > rememberedBytes && len(m.byID) > 1 {
		oldest := m.order[m.head]
		m.bytes -= m.byID[oldest].size()
		delete(m.byID, oldest)
		m.order[m.head] = ""
		m.head++
	}
	if m.head > rememberedRequests { // half of the queue at least is free
		m.order = append([]string(nil), m.order[m.head:]...)
		m.head = 0
	}
}

func (o outcome) size() int {
	n := len(o.Result)
	if o.Err != nil {
		n += len(o.Err.Message) + len(o.Err.ErrHint)
	}
	return n
}

// entries returns the remembered requests, oldest first.
func (m *requestMemory) entries() []requestEntry {
	out := make([]requestEntry, 0, len(m.byID))
	for _, id := range m.order[m.head:] {
		out = append(out, requestEntry{id, m.byID[id]})
	}
	return out
}
