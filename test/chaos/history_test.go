package chaos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/stackato/stackato/agent/local"
)

// op is one call of a client on a register, which is a setting.
type op struct {
	kind  string // read, write, cas
	key   string
	value int64  // write, cas: the new one
	old   uint64 // cas: the version that it must have
	node  string // that was asked; for people
}

// register is the state of a setting. Every write that takes effect adds one
// to its version, so that a lost write and one that is done twice both show.
type register struct {
	value   int64
	version uint64
}

// answer is what the client was told.
type answer struct {
	register      // read: what it is; write, cas: what the call made of it
	refused  bool // cas: it had another version
	unknown  bool // nobody knows whether it took place
}

// forever is the end of a call whose outcome is unknown: it may take effect at
// any time.
const forever = int64(1) << 62

// registers is the sequential model of the settings.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(op).key
			byKey[k] = append(byKey[k], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(register), input.(op), output.(answer)
		next := register{in.value, s.version + 1}
		switch {
		case in.kind == "read":
			return out.register == s, s
		case in.kind == "cas" && in.old != s.version:
			return out.unknown || out.refused, s
		}
		return out.unknown || !out.refused && out.register == next, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// history collects what clients did and saw. It is safe for concurrent use.
type history struct {
	mu      sync.Mutex
	start   time.Time
	ops     []porcupine.Operation
	acked   map[string]int // writes by the node that acknowledged them
	unknown int
	typed   bool // clients use the command kato, not what it calls
}

func newHistory() *history { return &history{start: time.Now(), acked: map[string]int{}} }

// record runs one call and notes it. A call that surely had no effect is left
// out, as the errors' contract says: everything but a time-out, an internal
// error and a connection that broke off.
func (h *history) record(client int, in op, call func() (answer, error)) (answer, error) {
	began := time.Since(h.start).Nanoseconds()
	out, err := call()
	ended := time.Since(h.start).Nanoseconds()
	if err != nil {
		if in.kind == "read" || !mayHaveHappened(err) {
			return out, err
		}
		out, ended = answer{unknown: true}, forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: began, Output: out, Return: ended})
	switch {
	case out.unknown:
		h.unknown++
	case in.kind != "read" && !out.refused:
		h.acked[in.node]++
	}
	return out, err
}

// acks is how many writes a node has acknowledged so far.
func (h *history) acks(node string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked[node]
}

// check holds the history against the model.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d operations, %d of unknown outcome; acknowledged writes: %v", len(h.ops), h.unknown, h.acked)
	result := porcupine.CheckOperationsTimeout(registers, h.ops, time.Minute)
	if result == porcupine.Ok {
		return
	}
	t.Errorf("the history is not linearizable: %v", result)
	for _, ops := range registers.Partition(h.ops) {
		if porcupine.CheckOperationsTimeout(registers, ops, time.Minute) == porcupine.Ok {
			continue
		}
		slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		n := firstWrong(ops)
		for _, o := range ops[max(0, n-15):min(len(ops), n+15)] {
			end := fmt.Sprint(o.Return / 1000)
			if o.Return == forever {
				end = "?"
			}
			t.Logf("client %4d %9d..%9s us  %s", o.ClientId, o.Call/1000, end, registers.DescribeOperation(o.Input, o.Output))
		}
	}
}

// firstWrong returns the length of the longest beginning, by the calls, that
// can be ordered.
func firstWrong(ops []porcupine.Operation) int {
	n, _ := slices.BinarySearchFunc(ops, int64(1), func(o porcupine.Operation, _ int64) int {
		var begin []porcupine.Operation
		for _, p := range ops {
			if p.Call <= o.Call {
				begin = append(begin, p)
			}
		}
		if porcupine.CheckOperationsTimeout(registers, begin, 20*time.Second) == porcupine.Ok {
			return -1
		}
		return 1
	})
	return n
}

// read is what a setting says.
func read(entries []local.ConfigEntry, key string) (answer, error) {
	for _, e := range entries {
		if e.Key != key {
			continue
		}
		var v int64
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return answer{}, fmt.Errorf("%s is %s: %w", key, e.Value, err)
		}
		return answer{register: register{v, e.Version}}, nil
	}
	return answer{}, nil
}

// The checker can fail: each of these histories has a fault that it names.
func TestCheckerFindsFaults(t *testing.T) {
	t.Parallel()
	write := func(client int, from, to, value int64, version uint64) porcupine.Operation {
		return porcupine.Operation{
			ClientId: client, Call: from, Return: to,
			Input: op{kind: "write", value: value}, Output: answer{register: register{value, version}},
		}
	}
	get := func(client int, from, to, value int64, version uint64) porcupine.Operation {
		return porcupine.Operation{
			ClientId: client, Call: from, Return: to, Input: op{kind: "read"}, Output: answer{register: register{value, version}},
		}
	}
	lost := porcupine.Operation{ClientId: 3, Call: 1, Return: forever, Input: op{kind: "write", value: 7}, Output: answer{unknown: true}}
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		want porcupine.CheckResult
	}{
		"in order":               {[]porcupine.Operation{write(0, 1, 2, 5, 1), get(1, 3, 4, 5, 1)}, porcupine.Ok},
		"unknown, done":          {[]porcupine.Operation{lost, write(0, 1, 2, 5, 1), get(1, 3, 4, 7, 2)}, porcupine.Ok},
		"unknown, not done":      {[]porcupine.Operation{lost, write(0, 1, 2, 5, 1), get(1, 3, 4, 5, 1)}, porcupine.Ok},
		"acknowledged and lost":  {[]porcupine.Operation{write(0, 1, 2, 5, 1), get(1, 3, 4, 0, 0)}, porcupine.Illegal},
		"stale read":             {[]porcupine.Operation{write(0, 1, 2, 5, 1), write(0, 3, 4, 6, 2), get(1, 5, 6, 5, 1)}, porcupine.Illegal},
		"two leaders":            {[]porcupine.Operation{write(0, 1, 2, 5, 1), write(1, 3, 4, 6, 1)}, porcupine.Illegal},
		"done twice":             {[]porcupine.Operation{write(0, 1, 2, 5, 1), get(1, 3, 4, 5, 2)}, porcupine.Illegal},
		"unknown and done twice": {[]porcupine.Operation{lost, write(0, 1, 2, 5, 1), get(1, 3, 4, 7, 3)}, porcupine.Illegal},
	} {
		if got := porcupine.CheckOperationsTimeout(registers, c.ops, time.Minute); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
