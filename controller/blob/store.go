package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// Blob names content: digest (SHA-256, lower-case hexadecimal) and size.
type Blob = instance.Blob

// Errors of every [Store]; compare with errors.Is.
var (
	// ErrNotFound: no such blob here (or, for a cluster, anywhere).
	ErrNotFound = errors.New("no such blob")
	// ErrFull: the disk has no room but for the reserve. Nothing was kept.
	ErrFull = errors.New("the blob store is full")
	// ErrTooLarge: the content is larger than the caller's limit. Nothing
	// was kept.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrCorrupt: content and digest do not fit. The content that was read
	// must not be used.
	ErrCorrupt = errors.New("the content does not match its digest")
	// ErrQuorum: too few voters have the blob on disk. It may be there
	// later; the caller must not refer to it.
	ErrQuorum = errors.New("too few controllers stored the blob")
)

// Unlimited is a limit for content of a source that is trusted in size.
const Unlimited int64 = -1

// Info is a blob in a store.
type Info struct {
	Blob
	// Put is when the content was last put: garbage is not collected before
	// a grace from then on.
	Put time.Time
}

// Store keeps blobs. It is safe for concurrent use. All methods return early,
// with the context's error, when their context ends.
type Store interface {
	// Put reads r to its end and stores it durably. More than limit bytes
	// are refused with ErrTooLarge. Putting what is there already renews
	// its time.
	Put(ctx context.Context, r io.Reader, limit int64) (Blob, error)
	// Stage begins a blob whose content is checked before it is stored. The
	// caller ends it by Commit or Staged.Discard.
	Stage(ctx context.Context, limit int64) (*Staged, error)
	// Commit stores what was staged, as Put does. The staged content is gone
	// afterwards, with an error too.
	Commit(ctx context.Context, s *Staged) (Blob, error)
	// Open returns the content from its beginning and its size, which may be
	// unknown (-1) while the content comes from another controller. At its
	// end Read returns ErrCorrupt, not io.EOF, if the digest does not fit; a
	// store need not check what it has checked before. The reader may be an [io.ReaderAt] and [io.Seeker] too.
	Open(ctx context.Context, digest string) (io.ReadCloser, int64, error)
	Stat(ctx context.Context, digest string) (Info, error)
	// Delete removes the blob from this node if it was put before the given
	// time, and says whether it did. No such blob is no error.
	Delete(ctx context.Context, digest string, before time.Time) (bool, error)
	// List calls yield for each blob of this node, in no order, until it
	// returns false.
	List(ctx context.Context, yield func(Info) bool) error
}

// ValidDigest says whether s is written as a digest is.
func ValidDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// put is Put by Stage and Commit.
func put(ctx context.Context, s Store, r io.Reader, limit int64) (Blob, error) {
	st, err := s.Stage(ctx, limit)
	if err != nil {
		return Blob{}, err
	}
	defer st.Discard()
	if _, err := st.ReadFrom(r); err != nil {
		return Blob{}, err
	}
	return s.Commit(ctx, st)
}

func notFound(digest string) error { return fmt.Errorf("blob %.12s…: %w", digest, ErrNotFound) }

func corrupt(digest string) error { return fmt.Errorf("blob %.12s…: %w", digest, ErrCorrupt) }
