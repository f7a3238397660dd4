package fence

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Files that were removed while a process has them open or mapped take room
// and stand in no folder. The kernel says who has them. What it says to nobody
// are files that are on their way through a socket, open in no process.

// processes are the node's, by the pid namespace that they are in: that of
// their container, which they cannot leave.
type processes map[uint64][]int

func listProcesses() (processes, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all := processes{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if ns, ok := namespaceOf(pid); ok {
			all[ns] = append(all[ns], pid)
		}
	}
	return all, nil
}

func namespaceOf(pid int) (ns uint64, ok bool) {
	var s unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", pid), &s)
	return s.Ino, err == nil
}

// nameless adds up the open files without a name of one container.
type nameless struct {
	held
	dev  uint64 // of the container's root
	seen map[inode]bool
	open int
}

type inode struct{ dev, ino uint64 }

func inodeOf(s *unix.Stat_t) inode { return inode{s.Dev, s.Ino} }

// nameless measures what the container holds whose first process is pid.
func (p processes) nameless(ctx context.Context, pid int) (held, error) {
	ns, ok := namespaceOf(pid)
	if own, known := namespaceOf(os.Getpid()); !ok || known && own == ns {
		return held{}, nil // it has ended
	}
	var root unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root/.", pid), &root); err != nil {
		return held{}, nil //nolint:nilerr // it has ended
	}
	n := nameless{dev: root.Dev, seen: map[inode]bool{}}
	for _, pid := range p[ns] {
		if err := ctx.Err(); err != nil {
			return held{}, err
		}
		n.process(pid)
		if n.open > maxOpenFiles {
			n.beyond = fmt.Sprintf("more than %d open files", maxOpenFiles)
			break
		}
	}
	return n.held, nil
}

// process looks at the open files of a process, and of those of its threads
// that do not share them, and at what is mapped.
func (n *nameless) process(pid int) {
	base := fmt.Sprintf("/proc/%d/", pid)
	n.folder(base + "fd/")
	for _, name := range namesIn(base + "task") {
		if tid, err := strconv.Atoi(name); err == nil && tid != pid && !sameFiles(pid, tid) {
			n.folder(base + "task/" + name + "/fd/")
		}
	}
	maps, err := os.Open(base + "maps")
	if err != nil {
		return // it has ended
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if addresses, ok := removedMap(lines.Text()); ok {
			n.add(base + "map_files/" + addresses)
		}
	}
}

func (n *nameless) folder(dir string) {
	for _, name := range namesIn(dir) {
		if n.open++; n.open > maxOpenFiles {
			return
		}
		n.add(dir + name)
	}
}

// add counts a file by one of the kernel's links to it, if it has no name and
// lies in the container's own layer: not one in memory.
func (n *nameless) add(path string) {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG || s.Nlink > 0 || s.Dev != n.dev || n.seen[inodeOf(&s)] {
		return
	}
	n.seen[inodeOf(&s)] = true
	n.files++
	n.bytes += s.Blocks * 512
}

func namesIn(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxOpenFiles + 1) // what could be read counts
	return names
}

// sameFiles reports whether a thread is known to share the open files of its
// process.
func sameFiles(pid, tid int) bool {
	const kcmpFiles = 2
	same, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(tid), kcmpFiles, 0, 0, 0)
	return errno == 0 && same == 0
}

// removedMap takes the addresses out of a line of /proc/<pid>/maps about a
// file that was removed, as they stand in map_files.
func removedMap(line string) (addresses string, ok bool) {
	if !strings.HasSuffix(line, " (deleted)") {
		return "", false
	}
	addresses, _, _ = strings.Cut(line, " ")
	from, to, ok := strings.Cut(addresses, "-")
	return strings.TrimLeft(from, "0") + "-" + strings.TrimLeft(to, "0"), ok
}
