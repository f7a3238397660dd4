package instance

// Placement is what the scheduler says of an allocation. Where it is and what
// it is of never changes.
type Placement struct {
	Node  string `json:"node"` // node ID
	Job   string `json:"job"`
	Index int    `json:"index"`
	// Stopping: it is to end, and the scheduler hears of its node.
	Stopping bool `json:"stopping,omitempty"`
}
