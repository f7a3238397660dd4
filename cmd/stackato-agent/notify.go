package main

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// notify tells systemd of the daemon's state; see sd_notify(3). Elsewhere it
// does nothing.
func notify(state string) { _ = notifyWith(state, nil) } // systemd will say that it heard nothing

var errNoSystemd = errors.New("systemd did not start this program")

// notifyWith sends a socket along, if conn is not nil.
func notifyWith(state string, conn syscall.Conn) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return errNoSystemd
	}
	if path[0] == '@' { // abstract
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	if conn == nil {
		_, err = c.Write([]byte(state))
		return err
	}
	to, err := c.SyscallConn()
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		var failed error
		sent = to.Control(func(out uintptr) {
			failed = unix.Sendmsg(int(out), []byte(state), unix.UnixRights(int(fd)), nil, 0) //nolint:gosec // descriptors are small
		})
		sent = errors.Join(sent, os.NewSyscallError("sendmsg", failed))
	})
	return errors.Join(err, sent)
}
