package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/agent/local"
)

// Bounds of the disk check.
const (
	diskWarnPercent, diskFailPercent   = 15, 5
	diskWarnBytes, diskFailBytes       = 2 << 30, 512 << 20
	inodeWarnPercent, inodeFailPercent = 5, 1
	syncWarn                           = 100 * time.Millisecond
)

// usage is what statfs says of a file system.
type usage struct {
	size, free         uint64 // bytes: that files can fill, and that are left
	inodes, freeInodes uint64 // 0: the file system does not count them
	readOnly           bool
}

func usageOf(path string) (usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return usage{}, fmt.Errorf("%s: %w", path, err)
	}
	block := uint64(s.Bsize)
	return usage{
		size: (s.Blocks - s.Bfree + s.Bavail) * block, free: s.Bavail * block, // as df counts
		inodes: s.Files, freeInodes: s.Ffree, readOnly: s.Flags&unix.ST_RDONLY != 0,
	}, nil
}

func (env Env) disk(context.Context) []local.Finding {
	u, err := usageOf(env.DataDir)
	if err != nil {
		return failed("make the data directory, or correct data_dir in /etc/stackato/agent.yml", "%v", err)
	}
	out := judgeUsage(env.DataDir, u)
	if u.readOnly {
		return out
	}
	took, err := writeProbe(env.DataDir)
	out = append(out, judgeWrite(env.DataDir, took, err)...)
	if env.DiskErr != nil {
		if err := env.DiskErr(); err != nil {
			out = append(out, failed("see dmesg and df, repair the disk or make room: the agent takes part again by itself",
				"the agent has stopped writing its state: %v", err)...)
		}
	}
	return out
}

func judgeUsage(dir string, u usage) []local.Finding {
	if u.readOnly {
		return failed("see dmesg for the cause, then: mount -o remount,rw the file system of "+dir, "%s is mounted read-only", dir)
	}
	percent := 100.0
	if u.size > 0 {
		percent = 100 * float64(u.free) / float64(u.size)
	}
	detail := fmt.Sprintf("%s: %s free of %s (%.0f %%)", dir, bytes(u.free), bytes(u.size), percent)
	remedy := fmt.Sprintf("see what fills it: du -xh --max-depth 2 %s | sort -h | tail; make room or enlarge it", dir)
	var out []local.Finding
	switch {
	case percent < diskFailPercent || u.free < diskFailBytes:
		out = failed(remedy, "%s", detail)
	case percent < diskWarnPercent || u.free < diskWarnBytes:
		out = warned(remedy, "%s", detail)
	default:
		out = ok("%s", detail)
	}
	if u.inodes == 0 {
		return out
	}
	left := 100 * float64(u.freeInodes) / float64(u.inodes)
	if left < inodeWarnPercent {
		detail := fmt.Sprintf("%s: %d inodes free of %d (%.1f %%)", dir, u.freeInodes, u.inodes, left)
		remedy := fmt.Sprintf("find the directory with many small files: du -x --inodes --max-depth 2 %s | sort -n | tail", dir)
		if left < inodeFailPercent {
			return append(out, failed(remedy, "%s", detail)...)
		}
		return append(out, warned(remedy, "%s", detail)...)
	}
	return out
}

func judgeWrite(dir string, took time.Duration, err error) []local.Finding {
	switch {
	case errors.Is(err, unix.EROFS):
		return failed("see dmesg for the cause, then: mount -o remount,rw the file system of "+dir, "%s does not take writes: %v", dir, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return failed("make room: df -h "+dir+"; df -i "+dir, "%s is full: %v", dir, err)
	case err != nil:
		return failed("see dmesg and the permissions of "+dir, "%s cannot be written: %v", dir, err)
	case took > syncWarn:
		return warned("give the data directory a faster disk, or find who else writes: iotop -o", "a write took %s to reach the disk, more than %s: elections become likely",
			round(took), syncWarn)
	}
	return ok("a write takes %s to reach the disk", round(took))
}

// writeProbe writes and syncs a small file, as Raft does, and returns how long
// that took.
func writeProbe(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".inspect-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	begin := time.Now()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

// bytes writes a size for people.
func bytes(n uint64) string {
	switch {
	case n >= 1<<40:
		return fmt.Sprintf("%.1f TiB", float64(n)/(1<<40))
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
