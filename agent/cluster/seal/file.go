package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/stackato/stackato/internal/atomicfile"
)

// maxMarshaled bounds the text of a ring, in bytes.
const maxMarshaled = 64 << 10

// ringFile is the plain form of a ring: as secret as the keys in it.
type ringFile struct {
	Version int       `json:"version"`
	Keys    []keyFile `json:"keys"` // newest first
}

type keyFile struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Secret  []byte    `json:"secret"`
}

// Marshal returns the ring with its keys in the clear. Send it only over
// connections that are encrypted, store it only with [Ring.SaveFile].
func (r *Ring) Marshal() []byte {
	f := ringFile{Version: formatVersion}
	for _, k := range r.snapshot() {
		f.Keys = append(f.Keys, keyFile{ID: k.name(), Created: k.created, Secret: k.secret[:]})
	}
	out, err := json.Marshal(f)
	if err != nil {
		panic("seal: a ring cannot be encoded: " + err.Error()) // cannot happen: plain fields
	}
	return out
}

// Unmarshal reads what [Ring.Marshal] made. Errors never show a key.
func Unmarshal(data []byte) (*Ring, error) {
	if len(data) > maxMarshaled {
		return nil, fmt.Errorf("key ring has %d bytes, allowed are %d", len(data), maxMarshaled)
	}
	var f ringFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, errors.New("key ring is damaged: it is not the JSON that was written") // the cause could quote a key
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("key ring is damaged: there is text after its end")
	}
	if f.Version != formatVersion {
		return nil, fmt.Errorf("key ring has format version %d, this build knows %d", f.Version, formatVersion)
	}
	if len(f.Keys) == 0 || len(f.Keys) > maxKeys {
		return nil, fmt.Errorf("key ring is damaged: it has %d keys, want 1 to %d", len(f.Keys), maxKeys)
	}
	r := &Ring{}
	for i, kf := range f.Keys {
		k, err := kf.parse()
		if err != nil {
			return nil, fmt.Errorf("key ring is damaged: key %d: %w", i+1, err)
		}
		if r.find(k.id) != nil {
			return nil, fmt.Errorf("key ring is damaged: key %s is there twice", k.name())
		}
		r.keys = append(r.keys, k)
	}
	sortKeys(r.keys)
	return r, nil
}

func (f keyFile) parse() (*key, error) {
	var id [idSize]byte
	raw, err := hex.DecodeString(f.ID)
	if err != nil || len(raw) != idSize || hex.EncodeToString(raw) != f.ID {
		return nil, errors.New("its id is not 8 hex digits")
	}
	if len(f.Secret) != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("it has %d bytes, want %d", len(f.Secret), chacha20poly1305.KeySize)
	}
	copy(id[:], raw)
	return newKey(id, f.Created, f.Secret)
}

// SaveFile writes the ring atomically with mode 0600.
func (r *Ring) SaveFile(path string) error {
	if err := atomicfile.Write(path, r.Marshal(), 0o600); err != nil {
		return fmt.Errorf("save key ring: %w", err)
	}
	return nil
}

// LoadFile reads a ring. A file that others may read is refused: the ring
// must then be taken for known to them. A missing file gives an error that
// errors.Is fs.ErrNotExist.
func LoadFile(path string) (*Ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load key ring: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("load key ring: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("load key ring: %s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("load key ring: %s has mode %04o, others may read it: run: chmod 600 %s; and if others could log in here, also: kato rotate sealing-key",
			path, perm, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxMarshaled+1))
	if err != nil {
		return nil, fmt.Errorf("load key ring: %w", err)
	}
	r, err := Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("load key ring %s: %w", path, err)
	}
	return r, nil
}
