package fence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/stackato/stackato/wire/instance"
)

// verifier passes bytes on, all but the last one, and counts and hashes them.
type verifier struct {
	to   io.Writer
	sum  hash.Hash
	size int64
	last []byte // at most one byte
}

func newVerifier(to io.Writer) *verifier { return &verifier{to: to, sum: sha256.New()} }

func (v *verifier) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	v.sum.Write(b)
	v.size += int64(len(b))
	if len(v.last) == 1 {
		if _, err := v.to.Write(v.last); err != nil {
			return 0, err
		}
	}
	end := len(b) - 1
	v.last = append(v.last[:0], b[end])
	if _, err := v.to.Write(b[:end]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// finish passes the last byte on if all of them are what was wanted.
func (v *verifier) finish(want instance.Blob) error {
	if got := hex.EncodeToString(v.sum.Sum(nil)); got != want.Digest {
		return fmt.Errorf("blob %.12s arrived as %.12s (%d bytes)", want.Digest, got, v.size)
	}
	_, err := v.to.Write(v.last)
	return err
}
