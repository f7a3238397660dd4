package apptail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxFrame bounds a frame. Docker splits lines at 16 KiB.
const maxFrame = 1 << 20

// frame is what a container wrote at once: a line, or a part of a long one.
type frame struct {
	time int64 // Unix nanoseconds
	err  bool  // standard error
	data []byte
}

// whole says whether the frame ends a line.
func (f frame) whole() bool { return len(f.data) > 0 && f.data[len(f.data)-1] == '\n' }

// readFrame reads one frame of Docker's multiplexed stream with time stamps:
//
//	[8]byte{stream, 0, 0, 0, big-endian length} "2006-01-02T15:04:05.000000000Z text"
//
// It returns io.EOF at the end of the stream and io.ErrUnexpectedEOF within a
// frame.
func readFrame(r io.Reader) (frame, error) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(header[4:])
	if header[0] > 3 || n > maxFrame {
		return frame{}, fmt.Errorf("no stream of Docker: a frame begins with % x", header)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	if header[0] == 3 { // the engine's own words
		return frame{}, fmt.Errorf("docker: %.200q", data)
	}
	stamp, text, ok := bytes.Cut(data, []byte(" "))
	if !ok {
		return frame{}, fmt.Errorf("no time stamp in %.40q", data)
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return frame{}, fmt.Errorf("no time stamp in %.40q", data)
	}
	return frame{at.UnixNano(), header[0] == 2, text}, nil
}
