package proxy

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"strconv"
)

// LogFile is an AccessLog in a file that is set aside when it has grown large:
// path, path.1 (the one before), path.2 and so on. It is for one goroutine.
type LogFile struct {
	path string
	max  int64
	keep int

	file *os.File
	buf  *bufio.Writer
	size int64
}

// NewLogFile returns a log that opens path at the first line. A file is set
// aside when it has maxBytes; keep of these are kept.
func NewLogFile(path string, maxBytes int64, keep int) *LogFile {
	return &LogFile{path: path, max: maxBytes, keep: keep}
}

// WriteLine appends a line. After an error the next call tries to open the file
// anew.
func (f *LogFile) WriteLine(line []byte) error {
	if err := f.open(); err != nil {
		return err
	}
	if f.size >= f.max {
		if err := f.rotate(); err != nil {
			return err
		}
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.buf.Write(line)
	f.size += int64(n) + 1
	if err == nil {
		err = f.buf.WriteByte('\n')
	}
	return f.check(err)
}

// Flush hands everything to the operating system.
func (f *LogFile) Flush() error {
	if f.file == nil {
		return nil
	}
	return f.check(f.buf.Flush())
}

// Close flushes and closes the file. The log can be used again.
func (f *LogFile) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.buf.Flush()
	err = errors.Join(err, f.file.Close())
	f.file = nil
	return err
}

func (f *LogFile) open() error {
	if f.file != nil {
		return nil
	}
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.buf, f.size = file, bufio.NewWriterSize(file, 64<<10), info.Size()
	return nil
}

func (f *LogFile) check(err error) error {
	if err != nil {
		f.file.Close()
		f.file = nil
	}
	return err
}

func (f *LogFile) rotate() error {
	if err := f.Close(); err != nil {
		return err
	}
	name := func(i int) string { return f.path + "." + strconv.Itoa(i) }
	for i := f.keep - 1; i >= 1; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if f.keep < 1 {
		return os.Remove(f.path)
	}
	return os.Rename(f.path, name(1))
}
