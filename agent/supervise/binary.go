package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Version is the version of a program, without pre-release and build parts.
type Version struct{ Major, Minor, Patch int }

var versionPattern = regexp.MustCompile(`\bv?(\d{1,5})\.(\d{1,5})\.(\d{1,5})\b`)

// ParseVersion finds the first version in text, such as "Consul v1.21.0".
func ParseVersion(text string) (Version, error) {
	m := versionPattern.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("no version in %.60q", text)
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // at most five digits
	}
	return Version{n[0], n[1], n[2]}, nil
}

// String returns the version as "1.2.3".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Before reports whether v is older than w.
func (v Version) Before(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// Requirement says which versions of a program will do: Min <= v < Below.
type Requirement struct {
	Name       string
	Min, Below Version
}

// Satisfied reports whether v will do.
func (r Requirement) Satisfied(v Version) bool { return !v.Before(r.Min) && v.Before(r.Below) }

// Binary is a program that was found.
type Binary struct {
	Path    string
	Version Version
	Err     error // why its version is not known
}

// BinaryError says that no suitable program was found.
type BinaryError struct {
	Need     Requirement
	Rejected []Binary // what was found instead, in the order of the search
	Searched []string // directories
}

// Error names what is needed, what was found where, and what to do.
func (e *BinaryError) Error() string {
	n := e.Need
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s or later, but before %s, is needed", n.Name, n.Min, n.Below)
	if len(e.Rejected) == 0 {
		fmt.Fprintf(&b, " and none was found in %s", strings.Join(e.Searched, ", "))
	}
	for i, r := range e.Rejected {
		b.WriteString(map[bool]string{true: "; found ", false: ", "}[i == 0])
		if r.Err != nil {
			fmt.Fprintf(&b, "%s (%v)", r.Path, r.Err)
		} else {
			fmt.Fprintf(&b, "%s (version %s)", r.Path, r.Version)
		}
	}
	dir := "the directory of stackato-agent"
	if len(e.Searched) > 0 {
		dir = e.Searched[0]
	}
	fmt.Fprintf(&b, ": put a suitable %s into %s or on PATH", n.Name, dir)
	return b.String()
}

// SearchPath is where programs are looked for: dirs, the directory of the
// running executable, then PATH.
func SearchPath(dirs ...string) []string {
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	for _, d := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(d) {
			dirs = append(dirs, d)
		}
	}
	var out []string
	seen := map[string]bool{}
	for _, d := range dirs {
		if d = filepath.Clean(d); !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}

// Find returns every executable file with that name on SearchPath(dirs...),
// the best first, the same file once.
func Find(name string, dirs ...string) []string {
	var paths []string
	var infos []os.FileInfo
next:
	for _, d := range SearchPath(dirs...) {
		path := filepath.Join(d, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			continue
		}
		for _, other := range infos {
			if os.SameFile(info, other) {
				continue next
			}
		}
		paths, infos = append(paths, path), append(infos, info)
	}
	return paths
}

// Locate returns the first program on SearchPath(dirs...) whose version will
// do, and a *BinaryError when there is none. It runs `<program> version`.
func Locate(ctx context.Context, need Requirement, dirs ...string) (Binary, error) {
	e := &BinaryError{Need: need, Searched: SearchPath(dirs...)}
	for _, path := range Find(need.Name, dirs...) {
		b := Binary{Path: path}
		b.Version, b.Err = AskVersion(ctx, path)
		if b.Err == nil && need.Satisfied(b.Version) {
			return b, nil
		}
		if ctx.Err() != nil {
			return Binary{}, ctx.Err()
		}
		e.Rejected = append(e.Rejected, b)
	}
	return Binary{}, e
}

// askWithin bounds how long a program may take to tell its version.
const askWithin = 10 * time.Second

// fileKey tells a file from what it was before it was replaced.
type fileKey struct {
	path    string
	inode   uint64
	size    int64
	changed time.Time
}

// versions remembers what programs said, by fileKey: starting one of them
// costs a tenth of a second of CPU. It holds as many entries as there were
// program files, which are few.
var versions sync.Map

// AskVersion runs `<path> version` with a clean environment for at most 10 s
// and reads the version from its first line. The answer of an unchanged file
// is remembered.
func AskVersion(ctx context.Context, path string) (Version, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Version{}, err
	}
	key := fileKey{path: path, size: info.Size(), changed: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		key.inode = st.Ino
	}
	if v, ok := versions.Load(key); ok {
		return v.(Version), nil
	}
	v, err := askVersion(ctx, path)
	if err == nil {
		versions.Store(key, v)
	}
	return v, err
}

func askVersion(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var out limitedBuffer
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = CleanEnv("/")
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return Version{}, errors.New("does not answer to the command `version`")
		}
		return Version{}, fmt.Errorf("command `version`: %w", err)
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	return ParseVersion(line)
}

// limitedBuffer keeps the first 4 KiB that are written to it.
type limitedBuffer struct{ strings.Builder }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := 4<<10 - b.Len(); room > 0 {
		b.Builder.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
