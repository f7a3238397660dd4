package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// MinPassphrase is the least length of an export's passphrase, in bytes.
const MinPassphrase = 12

const (
	exportFormat = "stackato-key-ring"
	saltSize     = 16
	maxExport    = 2 * maxMarshaled
)

// ErrPassphrase says that an export cannot be opened: the passphrase is
// wrong or the file was changed; the two cannot be told apart.
var ErrPassphrase = errors.New("wrong passphrase, or the exported key ring was changed")

// kdfParams are argon2id's costs. They stand in the file, so that they can
// grow; limits keep a forged file from eating the machine.
type kdfParams struct {
	Time      uint32 `json:"time"`
	MemoryKiB uint32 `json:"memory_kib"`
	Threads   uint8  `json:"threads"`
}

// RFC 9106's second recommendation (64 MiB) with its 3 passes.
var defaultKDF = kdfParams{Time: 3, MemoryKiB: 64 << 10, Threads: 4}

func (p kdfParams) check() error {
	if p.Time < 1 || p.Time > 16 || p.MemoryKiB < 8<<10 || p.MemoryKiB > 256<<10 || p.Threads < 1 || p.Threads > 16 {
		return fmt.Errorf("exported key ring: argon2id costs out of range (time %d, memory %d KiB, threads %d)", p.Time, p.MemoryKiB, p.Threads)
	}
	return nil
}

type exportHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	KDF     string    `json:"kdf"`
	Params  kdfParams `json:"params"`
	Salt    []byte    `json:"salt"`
	Nonce   []byte    `json:"nonce"`
}

type exportFile struct {
	exportHeader
	Ciphertext []byte `json:"ciphertext"`
}

// Export returns the ring encrypted under a passphrase of at least
// [MinPassphrase] bytes, for backups. It takes about 64 MiB of memory for a
// moment.
func (r *Ring) Export(passphrase []byte) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("the passphrase has %d bytes, at least %d are needed", len(passphrase), MinPassphrase)
	}
	h := exportHeader{
		Format:  exportFormat,
		Version: formatVersion,
		KDF:     "argon2id",
		Params:  defaultKDF,
		Salt:    make([]byte, saltSize),
		Nonce:   make([]byte, chacha20poly1305.NonceSizeX),
	}
	rand.Read(h.Salt)
	rand.Read(h.Nonce)
	aead, aad, err := h.aead(passphrase)
	if err != nil {
		return nil, err
	}
	return json.Marshal(exportFile{exportHeader: h, Ciphertext: aead.Seal(nil, h.Nonce, r.Marshal(), aad)})
}

// Import reads what [Ring.Export] made. A wrong passphrase is
// [ErrPassphrase].
func Import(data, passphrase []byte) (*Ring, error) {
	if len(data) > maxExport {
		return nil, fmt.Errorf("exported key ring has %d bytes, allowed are %d", len(data), maxExport)
	}
	var f exportFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || f.Format != exportFormat {
		return nil, errors.New("this is not an exported key ring")
	}
	if f.Version != formatVersion || f.KDF != "argon2id" {
		return nil, fmt.Errorf("exported key ring has format version %d with %.20q, this build knows %d with argon2id", f.Version, f.KDF, formatVersion)
	}
	if err := f.Params.check(); err != nil {
		return nil, err
	}
	if len(f.Salt) != saltSize || len(f.Nonce) != chacha20poly1305.NonceSizeX {
		return nil, errors.New("exported key ring is damaged: salt or nonce has a wrong size")
	}
	aead, aad, err := f.aead(passphrase)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, f.Nonce, f.Ciphertext, aad)
	if err != nil {
		return nil, ErrPassphrase
	}
	return Unmarshal(plain)
}

// aead derives the key and returns it with the header as additional data.
func (h exportHeader) aead(passphrase []byte) (cipher.AEAD, []byte, error) {
	aad, err := json.Marshal(h)
	if err != nil {
		return nil, nil, err
	}
	secret := argon2.IDKey(passphrase, h.Salt, h.Params.Time, h.Params.MemoryKiB, h.Params.Threads, chacha20poly1305.KeySize)
	aead, err := chacha20poly1305.NewX(secret)
	return aead, aad, err
}
