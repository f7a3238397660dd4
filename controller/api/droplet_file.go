package api

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/controller/cf"
)

const (
	maxDropletUnpacked = 16 << 30 // bytes
	maxDropletEntries  = 2_000_000
	maxStagingInfo     = 1 << 20 // bytes of staging_info.yml
)

// badDroplet says what is wrong with an uploaded droplet.
func badDroplet(format string, args ...any) error {
	return cf.ErrBitsInvalid.With("The droplet upload is invalid: %s", fmt.Sprintf(format, args...))
}

// readDroplet checks that r is a tar.gz and returns the start command of its
// staging_info.yml, "" if there is none.
func readDroplet(r io.Reader) (command string, err error) {
	z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return "", badDroplet("it is no gzip file: %v", err)
	}
	limited := &io.LimitedReader{R: z, N: maxDropletUnpacked}
	t := tar.NewReader(limited)
	for range maxDropletEntries {
		h, err := t.Next()
		if limited.N <= 0 {
			return "", badDroplet("it has more than %d GiB when unpacked", maxDropletUnpacked>>30)
		}
		if errors.Is(err, io.EOF) {
			return command, nil
		}
		if err != nil {
			return "", badDroplet("it is no tar archive within gzip: %v", err)
		}
		if path.Clean("/"+h.Name) == "/staging_info.yml" && h.Typeflag == tar.TypeReg {
			if command, err = startCommand(t); err != nil {
				return "", err
			}
		}
	}
	return "", badDroplet("it has more than %d entries", maxDropletEntries)
}

func startCommand(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxStagingInfo))
	if err != nil {
		return "", badDroplet("staging_info.yml cannot be read: %v", err)
	}
	var info struct {
		StartCommand string `yaml:"start_command"`
	}
	if err := yaml.Unmarshal(data, &info); err != nil {
		return "", badDroplet("staging_info.yml is no YAML: %v", err)
	}
	return info.StartCommand, nil
}
