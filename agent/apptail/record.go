package apptail

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"unicode/utf8"

	"github.com/stackato/stackato/wire/logs"
)

// A record on disk, little endian:
//
//	length u32 | crc32c u32 | time i64 | source u64 | source time i64 | frames u32 |
//	flags u8 | len(source type) u8 | len(instance) u8 | source type | instance | message
//
// Length and checksum cover what follows them. The source says which container
// the line came from and how far its stream had been read, so that reading can go
// on behind it.
const (
	prefixBytes = 8
	fixedBytes  = 8 + 8 + 8 + 4 + 3
	// maxRecord bounds what a damaged length can claim.
	maxRecord = fixedBytes + 2*math.MaxUint8 + logs.MaxLine

	flagErr = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// origin is where a line came from: how far the stream that it is of was read.
type origin struct {
	source uint64 // hash of the container's ID; 0 for none
	place
}

// appendRecord appends the record of a line to b. The line's fields must be in
// bounds, see bounded.
func appendRecord(b []byte, l logs.Line, o origin) []byte {
	at := len(b)
	b = append(b, make([]byte, prefixBytes)...)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Time))
	b = binary.LittleEndian.AppendUint64(b, o.source)
	b = binary.LittleEndian.AppendUint64(b, uint64(o.Time))
	b = binary.LittleEndian.AppendUint32(b, o.Frames)
	var flags byte
	if l.Err {
		flags |= flagErr
	}
	b = append(b, flags, byte(len(l.SourceType)), byte(len(l.InstanceID)))
	b = append(b, l.SourceType...)
	b = append(b, l.InstanceID...)
	b = append(b, l.Message...)
	body := b[at+prefixBytes:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(body, castagnoli))
	return b
}

// rawRecord is the body of a record, of at least fixedBytes, unchecked.
type rawRecord []byte

// nextRecord cuts the first record off b. It is not ok when b ends within it or its
// length cannot be.
func nextRecord(b []byte) (r rawRecord, sum uint32, rest []byte, ok bool) {
	if len(b) < prefixBytes {
		return nil, 0, b, false
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < fixedBytes || n > maxRecord || n > len(b)-prefixBytes {
		return nil, 0, b, false
	}
	return b[prefixBytes : prefixBytes+n], binary.LittleEndian.Uint32(b[4:]), b[prefixBytes+n:], true
}

func (r rawRecord) valid(sum uint32) bool {
	return crc32.Checksum(r, castagnoli) == sum && fixedBytes+int(r[29])+int(r[30]) <= len(r)
}

func (r rawRecord) time() int64 { return int64(binary.LittleEndian.Uint64(r)) }

func (r rawRecord) origin() origin {
	return origin{
		source: binary.LittleEndian.Uint64(r[8:]),
		place:  place{int64(binary.LittleEndian.Uint64(r[16:])), binary.LittleEndian.Uint32(r[24:])},
	}
}

func (r rawRecord) isErr() bool { return r[28]&flagErr != 0 }

// line returns the line of a valid record. Its message shares memory with r.
func (r rawRecord) line(app string) logs.Line {
	src, id := int(r[29]), int(r[30])
	text := r[fixedBytes:]
	return logs.Line{
		Time: r.time(), AppGUID: app, Err: r.isErr(),
		SourceType: string(text[:src]), InstanceID: string(text[src : src+id]),
		Message: text[src+id:],
	}
}

// bounded returns the line with every field small enough for a record.
func bounded(l logs.Line) logs.Line {
	l.SourceType = l.SourceType[:min(len(l.SourceType), math.MaxUint8)]
	l.InstanceID = l.InstanceID[:min(len(l.InstanceID), math.MaxUint8)]
	if len(l.Message) > logs.MaxLine {
		l.Message = cut(l.Message, 0)
	}
	return l
}

// cutMark follows what is left of a line that was too long.
const cutMark = " [… %d bytes cut]"

// markRoom is left for the mark with a number of up to 19 digits.
const markRoom = len(cutMark) + 19

// cut returns the beginning of message and a mark that says how many bytes were
// cut off, those included that the caller has dropped; logs.MaxLine bytes at
// most. No UTF-8 sequence is split.
func cut(message []byte, dropped int64) []byte {
	keep := min(len(message), logs.MaxLine-markRoom)
	for back := 0; back < utf8.UTFMax-1 && keep-back > 0 && keep < len(message); back++ {
		if utf8.RuneStart(message[keep-back]) {
			keep -= back
			break
		}
	}
	out := append(make([]byte, 0, keep+markRoom), message[:keep]...)
	return fmt.Appendf(out, cutMark, int64(len(message)-keep)+dropped)
}
