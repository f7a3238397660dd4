package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/wire/routing"
)

// maxFile bounds what is read from disk, in bytes: 100,000 routes of two
// instances take 60 MB.
const maxFile = 1 << 30

// load fills the table from disk. A file that cannot be read is set aside: a
// router without routes still learns them.
func (w *Watch) load() {
	if w.cfg.File == "" {
		return
	}
	u, err := readFile(w.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		_, err = w.cfg.Table.Load(u)
	}
	if err != nil {
		aside := w.cfg.File + ".bad"
		w.log.Error("the kept route table is of no use, set aside", "file", aside, "err", errors.Join(err, os.Rename(w.cfg.File, aside)))
		return
	}
	w.log.Info("serving the kept route table until a controller answers", "routes", w.cfg.Table.Len(), "term", u.Term, "version", u.Version)
}

func readFile(path string) (*routing.Update, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var u routing.Update
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&u); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if !u.Snapshot {
		return nil, fmt.Errorf("read %s: not a whole table", path)
	}
	return &u, nil
}

// save writes the table after changes: not more often than SaveInterval, and so
// that a large table is being written for a tenth of the time at most. At the
// end it writes what is due.
func (w *Watch) save(ctx context.Context) {
	if w.cfg.File == "" {
		return
	}
	for {
		select {
		case <-w.changed:
		case <-ctx.Done():
			select {
			case <-w.changed:
				w.write()
			default:
			}
			return
		}
		took := w.write()
		select {
		case <-time.After(max(w.cfg.SaveInterval, 10*took)):
		case <-ctx.Done():
		}
	}
}

func (w *Watch) write() (took time.Duration) {
	start := time.Now()
	data, err := json.Marshal(w.cfg.Table.Dump())
	if err == nil {
		err = atomicfile.Write(w.cfg.File, data, 0o600)
	}
	if err != nil {
		w.log.Error("the route table was not kept: a restart of this router needs a controller; check the disk", "err", err)
	}
	return time.Since(start)
}
