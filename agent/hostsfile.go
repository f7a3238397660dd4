package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/stackato/stackato/wire/routing"
)

// maxHostNames bounds the names that a micro cloud writes into the machine's
// hosts file.
const maxHostNames = 500

// The lines around what belongs to us in the hosts file.
const (
	hostsBegin = "# begin stackato: written by stackato-agent, do not edit"
	hostsEnd   = "# end stackato"
)

// hostsFile keeps the names of a micro cloud in the machine's hosts file: the
// C library and Go do not resolve names below .localhost by themselves, as
// browsers do. Names are those of the system and of mapped routes below the
// cloud's domain or .localhost, no others: who may map routes must not say
// where this machine finds the rest of the world. Wildcards cannot be expressed there. It is safe
// for concurrent use.
type hostsFile struct {
	path string
	log  interface{ Warn(string, ...any) }

	mu     sync.Mutex
	system []string
	domain string
	routes map[routing.Key]bool
	last   string
	failed string
}

func newHostsFile(path string, log interface{ Warn(string, ...any) }) *hostsFile {
	return &hostsFile{path: path, log: log, routes: map[routing.Key]bool{}}
}

// apply takes in an update of the routes and writes the file if names changed.
func (h *hostsFile) apply(u *routing.Update) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.Snapshot {
		clear(h.routes)
	}
	for _, r := range u.Routes {
		h.routes[r.Key] = true
	}
	for _, k := range u.Removed {
		delete(h.routes, k)
	}
	if u.System != nil {
		h.system, h.domain = u.System.Hosts, u.System.Domain
	}
	err := h.write(h.names())
	if text := fmt.Sprint(err); err != nil && text != h.failed {
		h.log.Warn("write the names of this micro cloud into the hosts file", "file", h.path, "err", err)
		h.failed = text
	}
}

// names lists the system's names, then those of routes in order.
func (h *hostsFile) names() []string {
	out := slices.Clone(h.system)
	var apps []string
	for k := range h.routes {
		if k.Path == "" && !strings.HasPrefix(k.Host, "*") && h.belongs(k.Host) {
			apps = append(apps, k.Host)
		}
	}
	slices.Sort(apps)
	for _, name := range apps {
		if len(out) == maxHostNames {
			break
		}
		if !slices.Contains(h.system, name) {
			out = append(out, name)
		}
	}
	return out
}

func (h *hostsFile) belongs(name string) bool {
	return strings.HasSuffix(name, ".localhost") || h.domain != "" && strings.HasSuffix(name, "."+h.domain)
}

// write replaces our block in place: the file may be mounted by itself, and
// cannot be renamed over then.
func (h *hostsFile) write(names []string) error {
	block := hostsBlock(names)
	if block == h.last {
		return nil
	}
	old, err := os.ReadFile(h.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next := withHostsBlock(old, block)
	if !bytes.Equal(old, next) {
		if err := writeInPlace(h.path, next); err != nil {
			return err
		}
	}
	h.last, h.failed = block, ""
	return nil
}

func writeInPlace(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// First the text, then the length: a reader in between sees old lines
	// at the end, never an empty file.
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Truncate(int64(len(data)))
}

// hostsBlock is our part of the file, "" without names.
func hostsBlock(names []string) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(hostsBegin + "\n")
	for _, n := range names {
		fmt.Fprintf(&b, "127.0.0.1 %s\n", n)
	}
	b.WriteString(hostsEnd + "\n")
	return b.String()
}

// withHostsBlock replaces our block in a hosts file, or appends it. All other
// lines stay as they are.
func withHostsBlock(old []byte, block string) []byte {
	var out []byte
	inside := false
	for line := range bytes.Lines(old) {
		switch text := string(bytes.TrimRight(line, "\r\n")); {
		case text == hostsBegin:
			inside = true
		case inside && text == hostsEnd:
			inside = false
		case !inside:
			out = append(out, line...)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' && block != "" {
		out = append(out, '\n')
	}
	return append(out, block...)
}
