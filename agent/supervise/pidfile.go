package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/internal/atomicfile"
)

// record is the content of a pid file. (Boot, PID, Start) names one process
// for ever.
type record struct {
	PID      int       `json:"pid"`
	Start    uint64    `json:"start_ticks"` // field 22 of /proc/PID/stat: clock ticks since boot
	Boot     string    `json:"boot_id"`
	Identity string    `json:"identity"` // Spec.identity at its start
	At       time.Time `json:"started_at"`
}

// maxPIDFile bounds what is read of a pid file, in bytes.
const maxPIDFile = 4 << 10

func (r record) write(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(b, '\n'), 0o644)
}

// readRecord reads a pid file. An unreadable or strange one is an error; the
// caller treats it as absent.
func readRecord(path string) (record, error) {
	var r record
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if len(b) > maxPIDFile {
		return r, fmt.Errorf("pid file %s is too large", path)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("pid file %s: %w", path, err)
	}
	if r.PID <= 1 {
		return r, fmt.Errorf("pid file %s: pid %d", path, r.PID)
	}
	return r, nil
}

// bootID names the present boot of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// stat is what is used of /proc/PID/stat (proc(5)).
type stat struct {
	state  byte
	parent int
	start  uint64
}

func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	// The name in parentheses may hold anything, also parentheses.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, errors.New("no ) in /proc stat")
	}
	f := strings.Fields(string(b[i+1:])) // f[0] is field 3
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, errors.New("short /proc stat")
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return stat{}, err
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	return stat{state: f[0][0], parent: parent, start: start}, err
}

// findMarked looks for a living process with the arguments and the marker of
// s; its executable may be an older one. Descendants inherit the marker but
// have other arguments. A node in a container of this machine has children
// with the same marker and arguments; only the working directory, as a file,
// tells whose they are.
func findMarked(s Spec) (pid int, ok bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		argv := procList(pid, "cmdline")
		if len(argv) == 0 || !slices.Equal(argv[1:], s.Args) ||
			!slices.Contains(procList(pid, "environ"), markerKey+"="+s.PIDFile) ||
			!sameFile(procPath(pid, "cwd"), s.Dir) {
			continue
		}
		if st, err := readStat(pid); err == nil && !st.dead() {
			return pid, true
		}
	}
	return 0, false
}

// procList reads a NUL-separated file of /proc/PID.
func procList(pid int, name string) []string {
	b, err := os.ReadFile(procPath(pid, name))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// runsFile reports whether process pid executes the file that is at path now;
// it does not after an upgrade has replaced the file.
func runsFile(pid int, path string) bool {
	return sameFile(procPath(pid, "exe"), path)
}

func procPath(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// sameFile reports whether both paths lead to one file or directory.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
