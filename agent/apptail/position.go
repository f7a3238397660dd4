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

// overlap is how much older a frame may be than one that Docker stored before
// it: each stream has a reader of its own, which takes the time before it waits
// for the file. Only the frames of one stream are in the order of their times.
const overlap = 10 * time.Second

// streams is how many a container has: its output (0) and its errors (1).
const streams = 2

// streamOf returns the stream of a frame or line.
func streamOf(isErr bool) int {
	if isErr {
		return 1
	}
	return 0
}

// place is how far one stream was read: after so many frames with this time.
// Docker gives the parts of one long line the same one.
type place struct {
	Time   int64  `json:"time"` // Unix nanoseconds; 0: nothing was read
	Frames uint32 `json:"frames"`
}

// pass moves the place behind a frame.
func (p *place) pass(fr frame) {
	if fr.time == p.Time {
		p.Frames++
	} else {
		p.Time, p.Frames = fr.time, 1
	}
}

// places are how far both streams were read.
type places [streams]place

// since returns from when on frames have to be asked for: zero for all.
func (p places) since() time.Time {
	newest := max(p[0].Time, p[1].Time)
	if newest == 0 {
		return time.Time{}
	}
	return time.Unix(0, newest).Add(-overlap)
}

// repeats tells the frames that were read before from new ones, when a stream of
// Docker's is opened again.
type repeats struct {
	read  places
	seen  [streams]uint32 // frames with the time of the place
	fresh [streams]bool   // what comes now is new
}

// has reports whether the frame, the next in the stream, was read before.
func (r *repeats) has(fr frame) bool {
	i := streamOf(fr.err)
	p := r.read[i]
	switch {
	case r.fresh[i]:
	case fr.time < p.Time:
		return true
	case fr.time == p.Time && r.seen[i] < p.Frames:
		r.seen[i]++
		return true
	}
	r.fresh[i] = true
	return false
}

// position is how far the output of a container was stored, in whole lines. The
// lines in the store say it exactly; this file bounds how many must be looked
// at, and holds when all of them were pushed out by other lines.
type position struct {
	Streams places `json:"streams"`
	Stored  int64  `json:"stored"` // time of its last line in the store
	Used    int64  `json:"used"`   // by the clock
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
