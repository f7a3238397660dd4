package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// makeFiles makes empty files.
func makeFiles(dir string, n int) error {
	for i := range n {
		f, err := os.Create(fmt.Sprintf("%s/%d", dir, i))
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// hidden keeps what nobody must close.
var hidden []*os.File

// hide takes so many bytes of the disk where they are hard to find.
func hide(how string, size int) error {
	const name = "/home/vcap/tmp/hidden"
	if how == "deep" { // beyond what a path can name
		for range 3000 {
			if err := errors.Join(os.Mkdir("d", 0o755), os.Chdir("d")); err != nil {
				return err
			}
		}
		return os.WriteFile("f", make([]byte, size), 0o644)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if how == "reserved" { // blocks behind the end of the file
		const keepSize = 1
		return syscall.Fallocate(int(f.Fd()), keepSize, 0, int64(size))
	}
	if _, err := f.Write(make([]byte, size)); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	switch how {
	case "nameless":
		hidden = append(hidden, f)
	case "mapped":
		if _, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED); err != nil {
			return err
		}
		return f.Close()
	}
	return nil
}
