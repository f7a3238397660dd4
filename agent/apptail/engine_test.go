package apptail

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// engine is a Source that holds the output of containers as Docker does.
type engine struct {
	mu         sync.Mutex
	changed    *sync.Cond
	containers map[string]*output
}

type output struct {
	frames []frame
	ended  bool
	hangs  bool // the stream of the ended container stays open
	opened int
}

func newEngine() *engine {
	e := &engine{containers: map[string]*output{}}
	e.changed = sync.NewCond(&e.mu)
	return e
}

func (e *engine) update(id string, f func(o *output)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[id] == nil {
		e.containers[id] = &output{}
	}
	f(e.containers[id])
	e.changed.Broadcast()
}

// write adds frames with times of their own.
func (e *engine) write(id string, texts ...string) {
	e.update(id, func(o *output) {
		for _, text := range texts {
			o.frames = append(o.frames, frame{time: time.Now().UnixNano() + int64(len(o.frames)), data: []byte(text)})
		}
	})
}

func (e *engine) end(id string) { e.update(id, func(o *output) { o.ended = true }) }

func (e *engine) Logs(ctx context.Context, id string, since time.Time) (io.ReadCloser, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.containers[id]
	if o == nil {
		return nil, fmt.Errorf("container %s: %w", id, fs.ErrNotExist)
	}
	o.opened++
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() {
		w.CloseWithError(ctx.Err())
		e.mu.Lock()
		defer e.mu.Unlock()
		e.changed.Broadcast()
	})
	go func() {
		defer stop()
		e.mu.Lock()
		defer e.mu.Unlock()
		for i := 0; ctx.Err() == nil; {
			if i == len(o.frames) {
				if o.ended && !o.hangs {
					w.Close()
					return
				}
				e.changed.Wait()
				continue
			}
			f := o.frames[i]
			i++
			if !since.IsZero() && f.time < since.UnixNano() {
				continue
			}
			e.mu.Unlock()
			_, err := w.Write(encodeFrame(f))
			e.mu.Lock()
			if err != nil {
				return
			}
		}
	}()
	return r, nil
}

func encodeFrame(f frame) []byte {
	text := slices.Concat([]byte(time.Unix(0, f.time).UTC().Format("2006-01-02T15:04:05.000000000Z07:00 ")), f.data)
	b := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	if f.err {
		b[0] = 2
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return append(b, text...)
}
