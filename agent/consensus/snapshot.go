package consensus

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/go-memdb"
	"github.com/hashicorp/raft"
)

// snapshotFormat is the version of the snapshot's own layout: JSON lines, a
// header first, then rows and remembered requests, and a line with their
// count, so that a cut-off file is noticed.
const snapshotFormat = 1

type snapshotHeader struct {
	Format  int    `json:"format"`
	Applied uint64 `json:"applied"`
	Members uint64 `json:"members"` // see fsm.members
}

// snapshotLine is one line after the header; one of the fields is set.
type snapshotLine struct {
	Table   string          `json:"t,omitempty"`
	Row     json.RawMessage `json:"r,omitempty"`
	Request *requestEntry   `json:"q,omitempty"`
	End     *int            `json:"end,omitempty"` // number of lines before it
}

// UnknownTableError says that a snapshot holds a table that this build does
// not know.
type UnknownTableError struct{ Table string }

// Error says what to do about it.
func (e *UnknownTableError) Error() string {
	return fmt.Sprintf("the snapshot holds table %q, which this version of stackato-agent does not know: "+
		"install the version that the other controllers run and start it again", e.Table)
}

// snapshot is a frozen view that Raft writes out while commands go on.
type snapshot struct {
	reg      *Registry
	txn      *memdb.Txn
	head     snapshotHeader
	requests []requestEntry
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() { s.txn.Abort() }

func (s *snapshot) write(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 1<<20)
	enc := json.NewEncoder(buf)
	if err := enc.Encode(s.head); err != nil {
		return err
	}
	lines := 0
	for _, table := range slices.Sorted(maps.Keys(s.reg.schemas)) {
		it, err := s.txn.Get(table, "id")
		if err != nil {
			return fmt.Errorf("snapshot of %s: %w", table, err)
		}
		for row := it.Next(); row != nil; row = it.Next() {
			raw, err := json.Marshal(row)
			if err != nil {
				return fmt.Errorf("snapshot of %s: %w", table, err)
			}
			if err := enc.Encode(snapshotLine{Table: table, Row: raw}); err != nil {
				return err
			}
			lines++
		}
	}
	for i := range s.requests {
		if err := enc.Encode(snapshotLine{Request: &s.requests[i]}); err != nil {
			return err
		}
		lines++
	}
	if err := enc.Encode(snapshotLine{End: &lines}); err != nil {
		return err
	}
	return buf.Flush()
}

// readSnapshot fills db from r.
func readSnapshot(r io.Reader, reg *Registry, db *memdb.MemDB) (head snapshotHeader, requests *requestMemory, err error) {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&head); err != nil {
		return head, nil, fmt.Errorf("snapshot header: %w", err)
	}
	if head.Format != snapshotFormat {
		return head, nil, fmt.Errorf("snapshot has format %d, this version of stackato-agent reads %d", head.Format, snapshotFormat)
	}
	requests = newRequestMemory()
	txn := db.Txn(true)
	defer txn.Abort()
	for lines := 0; ; lines++ {
		var line snapshotLine
		if err := dec.Decode(&line); err != nil {
			return head, nil, fmt.Errorf("snapshot is cut off or damaged after line %d: %w", lines, err)
		}
		if line.End != nil {
			if *line.End != lines {
				return head, nil, fmt.Errorf("snapshot has %d lines, %d were written", lines, *line.End)
			}
			if _, err := dec.Token(); err != io.EOF {
				return head, nil, errors.New("data follow after the end of the snapshot")
			}
			txn.Commit()
			return head, requests, nil
		}
		if err := restoreLine(txn, reg, requests, line); err != nil {
			return head, nil, err
		}
	}
}

func restoreLine(txn *memdb.Txn, reg *Registry, requests *requestMemory, line snapshotLine) error {
	if line.Request != nil {
		requests.put(line.Request.ID, line.Request.Outcome)
		return nil
	}
	decode, ok := reg.rows[line.Table]
	if !ok {
		return &UnknownTableError{line.Table}
	}
	row, err := decode(line.Row)
	if err != nil {
		return fmt.Errorf("snapshot row of %s: %w", line.Table, err)
	}
	if err := txn.Insert(line.Table, row); err != nil {
		return fmt.Errorf("snapshot row of %s: %w", line.Table, err)
	}
	return nil
}
