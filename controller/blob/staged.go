package blob

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"
)

const (
	copyBuffer = 256 << 10
	// checkEvery is after how many written bytes the free space is looked at.
	checkEvery = 4 << 20
)

// Staged is content that is being written and is no blob yet. It is not safe
// for concurrent use, but for ReadAt.
type Staged struct {
	ctx       context.Context
	file      *os.File
	sum       hash.Hash
	size      int64
	limit     int64
	unchecked int64 // bytes written since the free space was looked at
	room      func() error
	gone      bool
}

// Write appends to the content. After an error the content must be discarded.
func (s *Staged) Write(p []byte) (int, error) {
	if err := s.admit(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.file.Write(p)
	s.sum.Write(p[:n])
	s.size += int64(n)
	if err != nil {
		return n, diskError(err)
	}
	return n, nil
}

// admit says whether n bytes more may be written.
func (s *Staged) admit(n int64) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	if s.limit >= 0 && s.size+n > s.limit {
		return fmt.Errorf("more than %d bytes: %w", s.limit, ErrTooLarge)
	}
	s.unchecked += n
	if s.unchecked < checkEvery {
		return nil
	}
	s.unchecked = 0
	return s.room()
}

// ReadFrom appends all of r.
func (s *Staged) ReadFrom(r io.Reader) (int64, error) {
	// The wrapper hides ReadFrom, or Copy would call it again.
	return io.CopyBuffer(struct{ io.Writer }{s}, r, make([]byte, copyBuffer))
}

// ReadAt reads back what was written.
func (s *Staged) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Size is the number of bytes written.
func (s *Staged) Size() int64 { return s.size }

// Blob is what the content written so far is named.
func (s *Staged) Blob() Blob {
	return Blob{Digest: hex.EncodeToString(s.sum.Sum(nil)), Size: s.size}
}

// Discard forgets the content. It does nothing after a commit, and may be
// called twice.
func (s *Staged) Discard() {
	if s.gone {
		return
	}
	s.gone = true
	s.file.Close()
	os.Remove(s.file.Name())
}

// diskError makes a full disk recognizable.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
