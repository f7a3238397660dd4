// Package procnet reads the kernel's tables of TCP sockets (proc(5)).
package procnet

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Socket is a TCP socket that is listened on.
type Socket struct {
	Addr  netip.AddrPort // an IPv4 address in IPv6 is IPv4
	Inode string         // by which the open files of its process name it
}

// maxTable bounds what is read of a table, in bytes. Sockets that are listened
// on stand first.
const maxTable = 1 << 20

// Listening returns the TCP sockets that are listened on in the network
// namespace of a process, as far as they could be read; the error tells of the
// rest.
func Listening(pid int) ([]Socket, error) {
	var all []Socket
	var errs []error
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			errs = append(errs, err) // the process has ended, or there is no IPv6
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(f, maxTable))
		for lines.Scan() {
			s, ok, err := parse(lines.Text())
			if ok {
				all = append(all, s)
			}
			errs = append(errs, err)
		}
		errs = append(errs, lines.Err(), f.Close())
	}
	return all, errors.Join(errs...)
}

// parse reads a line: local address in field 1, state in 3, inode in 9. ok is
// false for the heading and sockets in other states.
func parse(line string) (s Socket, ok bool, err error) {
	const listen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listen {
		return Socket{}, false, nil
	}
	addr, err := address(fields[1])
	if err != nil {
		return Socket{}, false, fmt.Errorf("socket at %.60q: %w", fields[1], err)
	}
	return Socket{addr, fields[9]}, true, nil
}

// address decodes "0100007F:1F90": 32-bit words in the machine's byte order,
// port in hexadecimal.
func address(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("an address of %d bytes", len(raw))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
