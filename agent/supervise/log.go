package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Bounds of the log lines that a status carries.
const (
	tailLines = 10
	tailBytes = 8 << 10
	lineBytes = 300
)

// openLog opens a child's log for appending. Mode 0600: programs sometimes
// log more than they should.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// rotate copies path to path.1 and empties it when it is larger than max
// bytes; older copies move up to path.keep. The writer needs to have it open
// in append mode.
func rotate(path string, maxBytes int64, keep int) (err error) {
	if fileSize(path) <= maxBytes {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("rotate %s: %w", path, err)
		}
	}()
	tmp := path + ".tmp"
	if err := copyFile(path, tmp); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Truncate(path, 0); err != nil {
		os.Remove(tmp)
		return err
	}
	for i := keep - 1; i >= 1; i-- {
		err := os.Rename(path+"."+strconv.Itoa(i), path+"."+strconv.Itoa(i+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(tmp, path+".1")
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// tail returns the last lines of the file that were written after offset
// from (the whole file if it was rotated since).
func tail(path string, from int64) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	if from > end {
		from = 0
	}
	cut := end-from > tailBytes
	if cut {
		from = end - tailBytes
	}
	buf := make([]byte, end-from)
	n, err := f.ReadAt(buf, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	buf = buf[:n]
	if i := bytes.IndexByte(buf, '\n'); cut && i >= 0 {
		buf = buf[i+1:] // a torn line
	}
	return lastLines(string(buf))
}

func lastLines(text string) []string {
	var lines []string
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if l == "" {
			continue
		}
		if len(l) > lineBytes {
			l = l[:lineBytes] + "…"
		}
		lines = append(lines, strings.ToValidUTF8(l, "?"))
	}
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return lines
}
