package supervisetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stackato/stackato/internal/procnet"
)

// Listening returns the "address:port" of each TCP socket that process pid
// listens on, sorted.
func Listening(t *testing.T, pid int) []string {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{} // inode numbers
	for _, fd := range fds {
		link, err := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	all, err := procnet.Listening(pid)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		if own[s.Inode] {
			out = append(out, fmt.Sprintf("%s:%d", s.Addr.Addr(), s.Addr.Port()))
		}
	}
	slices.Sort(out)
	return out
}
