package local

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

type (
	peerKey   struct{} // unix.Ucred of the connection
	originKey struct{} // who asked, of a forwarded request
)

// withPeer notes in ctx who is at the other end of a unix connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	err = raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || cred == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// origin tells who asked, for people: "uid 0", or for a forwarded request
// "uid 0 on n1".
func origin(ctx context.Context) string {
	if o, ok := ctx.Value(originKey{}).(string); ok {
		return clip(o)
	}
	if c, ok := ctx.Value(peerKey{}).(unix.Ucred); ok {
		return fmt.Sprintf("uid %d", c.Uid)
	}
	return "unknown"
}
