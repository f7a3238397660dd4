package apptail

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// keepPosition is how long the place of a container is remembered after its
// last line: longer than lines are kept, so that nothing is read twice.
const keepPosition = 48 * time.Hour

// maxPositions bounds the file; of more the oldest go.
const maxPositions = 8192

// position is how far the output of a container was read. The lines in the
// store say it exactly; this file bounds how many must be looked at, and holds
// when all of them were pushed out by other lines.
type position struct {
	Time   int64  `json:"time"`   // of the last frame, Unix nanoseconds
	Frames uint32 `json:"frames"` // read of those with this time
	Stored int64  `json:"stored"` // time of its last line in the store
	Used   int64  `json:"used"`   // by the clock
}

// positions are kept in a small file that is replaced now and then.
type positions struct {
	path string

	mu    sync.Mutex
	dirty bool
	of    map[string]position // by container
}

// loadPositions reads the file. One that is missing or damaged means that the
// store alone says where to go on.
func loadPositions(path string) *positions {
	p := &positions{path: path, of: map[string]position{}}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &p.of) != nil || p.of == nil {
		p.of = map[string]position{}
	}
	return p
}

func (p *positions) get(container string) position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[container]
}

func (p *positions) set(container string, pos position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[container] = pos
	p.dirty = true
}

// save writes the file if anything changed. It is replaced whole but not
// synced: after a power loss the containers are gone.
func (p *positions) save(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty {
		return nil
	}
	p.prune(now)
	data, err := json.Marshal(p.of)
	if err != nil {
		return err
	}
	tmp := p.path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("positions of logs: %w", err)
	}
	if err := os.Rename(tmp, p.path); err != nil {
		return fmt.Errorf("positions of logs: %w", err)
	}
	p.dirty = false
	return nil
}

func (p *positions) prune(now time.Time) {
	old := now.Add(-keepPosition).UnixNano()
	for id, pos := range p.of {
		if pos.Used < old {
			delete(p.of, id)
		}
	}
	for len(p.of) > maxPositions {
		oldest := ""
		for id, pos := range p.of {
			if oldest == "" || pos.Used < p.of[oldest].Used {
				oldest = id
			}
		}
		delete(p.of, oldest)
	}
}

func positionsPath(dir string) string { return filepath.Join(dir, "positions.json") }

// sourceOf names a container in a record.
func sourceOf(container string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(container))
	return max(h.Sum64(), 1)
}
