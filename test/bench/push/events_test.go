package push

import (
	"encoding/json"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// dockerEvents remembers when containers were created, started and
// removed.
type dockerEvents struct {
	mu   sync.Mutex
	seen []dockerEvent
}

type dockerEvent struct {
	Action   string
	TimeNano int64 `json:"timeNano"`
	Actor    struct{ Attributes map[string]string }
}

// followDocker follows Docker's events until the benchmark ends.
func followDocker(b *testing.B) *dockerEvents {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "docker", "events", "--format", "{{json .}}",
		"--filter", "event=create", "--filter", "event=start", "--filter", "event=destroy")
	out, err := cmd.StdoutPipe()
	must(b, err)
	if err := cmd.Start(); err != nil {
		b.Skip(err)
	}
	e := &dockerEvents{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for dec := json.NewDecoder(out); ; {
			var event dockerEvent
			if dec.Decode(&event) != nil {
				return
			}
			e.mu.Lock()
			e.seen = append(e.seen, event)
			e.mu.Unlock()
		}
	}()
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	return e
}

// await returns when an event of the container with that label (or name)
// happened.
func (e *dockerEvents) await(b *testing.B, action, label, value string) time.Time {
	b.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pollHTTP) {
		e.mu.Lock()
		for _, event := range e.seen {
			if event.Action == action && event.Actor.Attributes[label] == value {
				e.mu.Unlock()
				return time.Unix(0, event.TimeNano)
			}
		}
		e.mu.Unlock()
	}
	b.Fatalf("no container of %s: %s", value, action)
	return time.Time{}
}
