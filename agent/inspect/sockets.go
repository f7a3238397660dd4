package inspect

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// socket is one that takes connections or packets.
type socket struct {
	protocol string // tcp or udp
	addr     netip.AddrPort
	inode    uint64
}

// blocks reports whether nobody else can have port p while the socket is there.
func (s socket) blocks(p Port) bool {
	if s.protocol != p.Protocol || int(s.addr.Port()) != p.Number {
		return false
	}
	a := s.addr.Addr()
	return !p.Address.IsValid() || p.Address.IsUnspecified() || a.IsUnspecified() || a == p.Address
}

// Socket states in /proc/net: a listening TCP socket, a UDP socket without peer.
const (
	stateListen = "0A"
	stateClosed = "07"
)

// readSockets reads the sockets of this network namespace.
func readSockets(proc string) ([]socket, error) {
	var out []socket
	for file, kind := range map[string][2]string{
		"tcp": {"tcp", stateListen}, "tcp6": {"tcp", stateListen}, "udp": {"udp", stateClosed}, "udp6": {"udp", stateClosed},
	} {
		b, err := os.ReadFile(filepath.Join(proc, "net", file))
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(file, "6") { // IPv6 is off
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(string(b), "\n")[1:] {
			// sl local remote state queues timer retransmits uid timeout inode …
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != kind[1] {
				continue
			}
			addr, err := parseSocketAddr(f[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			inode, err := strconv.ParseUint(f[9], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: inode: %w", file, err)
			}
			out = append(out, socket{kind[0], addr, inode})
		}
	}
	return out, nil
}

// parseSocketAddr reads "0100007F:1F90": 32-bit words in the byte order of the
// machine, which is little-endian on all that we run on.
func parseSocketAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("address %.60q", s)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, okAddr := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if !okAddr || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %.60q", s)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// process is the holder of a socket.
type process struct {
	pid  int // 0: not visible to us
	name string
}

func (p process) String() string {
	if p.pid == 0 {
		return "a process that cannot be seen from here"
	}
	return fmt.Sprintf("%s (process %d)", p.name, p.pid)
}

// holder finds who has the socket, looking at the wanted process first.
func (env Env) holder(inode uint64, wanted int) process {
	if wanted != 0 && env.holds(wanted, inode) {
		return env.process(wanted)
	}
	entries, err := os.ReadDir(env.proc)
	if err != nil {
		return process{}
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && env.holds(pid, inode) {
			return env.process(pid)
		}
	}
	return process{}
}

func (env Env) holds(pid int, inode uint64) bool {
	dir := filepath.Join(env.proc, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		return err == nil && target == want
	})
}

func (env Env) process(pid int) process {
	b, err := os.ReadFile(filepath.Join(env.proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return process{pid, "?"}
	}
	return process{pid, strings.TrimSpace(string(b))}
}
