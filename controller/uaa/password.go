package uaa

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// cost is how hard a hash is to compute. It stands in the hash, so that it can
// grow.
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// userCost is OWASP's first recommendation for argon2id: 19 MiB, two passes.
var userCost = cost{memory: 19 << 10, time: 2, threads: 1}

const (
	saltSize = 16
	sumSize  = 32
	// maxPassword is the longest password, in bytes, as UAA.
	maxPassword = 255
	// A hash of a row cannot ask for more than this.
	maxMemory = 128 << 10 // KiB
	maxTime   = 10
)

// errBusy says that too many passwords are being checked.
var errBusy = errors.New("too many log-ins at the same time")

// hasher computes password hashes, a few at a time: each takes megabytes and a
// processor, so a flood of log-ins must wait, not grow. It is safe for
// concurrent use.
type hasher struct {
	cost    cost
	slots   chan struct{} // computing
	waiting chan struct{} // computing or waiting
	patient time.Duration // how long one waits
	dummy   string        // what unknown users' passwords are compared with
}

func newHasher(c cost, parallel, queue int, patient time.Duration) *hasher {
	h := &hasher{cost: c, slots: make(chan struct{}, parallel), waiting: make(chan struct{}, parallel+queue), patient: patient}
	h.dummy = encode(c, make([]byte, saltSize), make([]byte, sumSize))
	return h
}

// do runs f in a slot, or returns errBusy. The slot is not taken if gate, asked
// when it is one's turn, returns an error.
func (h *hasher) do(ctx context.Context, gate func() error, f func()) error {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		return errBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.patient, errBusy)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := gate(); err != nil {
		return err
	}
	f()
	return nil
}

// open is a gate that lets everybody through.
func open() error { return nil }

// hash returns the hash of a password in PHC string form.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	var out string
	err := h.do(ctx, open, func() { out = encode(h.cost, salt, compute(password, salt, h.cost, sumSize)) })
	return out, err
}

// check says whether the password fits the hash. An empty hash fits none and
// takes as long: who asks cannot tell that there is no such user. gate is asked
// when it is this password's turn.
func (h *hasher) check(ctx context.Context, gate func() error, password, hash string) (bool, error) {
	known := hash != ""
	if !known {
		hash = h.dummy
	}
	c, salt, want, err := decode(hash)
	if err != nil {
		return false, err
	}
	ok := false
	err = h.do(ctx, gate, func() {
		ok = subtle.ConstantTimeCompare(compute(password, salt, c, uint32(len(want))), want) == 1
	})
	return ok && known && err == nil, err
}

func compute(password string, salt []byte, c cost, size uint32) []byte {
	return argon2.IDKey([]byte(password), salt, c.time, c.memory, c.threads, size)
}

func encode(c cost, salt, sum []byte) string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads,
		enc.EncodeToString(salt), enc.EncodeToString(sum))
}

// decode parses a PHC string of argon2id.
func decode(hash string) (c cost, salt, sum []byte, err error) {
	parts := strings.Split(hash, "$")
	var version int
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return c, nil, nil, errors.New("the password's hash is not of argon2id")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return c, nil, nil, fmt.Errorf("the password's hash is of an unknown version %q", parts[2])
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.threads); err != nil {
		return c, nil, nil, fmt.Errorf("the password's hash has no valid costs: %w", err)
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	switch {
	case err1 != nil || err2 != nil || len(salt) < 8 || len(sum) < 16 || len(sum) > 64:
		return c, nil, nil, errors.New("the password's hash is malformed")
	case c.memory > maxMemory || c.time > maxTime || c.time < 1 || c.threads < 1:
		return c, nil, nil, errors.New("the password's hash has costs out of range")
	}
	return c, salt, sum, nil
}

// mark names a hash without giving it away. Tokens carry it: with another
// password they end.
func mark(hash string) string {
	sum := sha256.Sum256([]byte("mark of " + hash))
	return hex.EncodeToString(sum[:4])
}
