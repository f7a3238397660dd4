// Package closing tells when connections are closed.
package closing

import (
	"net"
	"sync"
)

// Tell returns conn so that then is called once, before it is closed by its
// owner. What the other side closes is told when the owner closes it, too.
func Tell(conn net.Conn, then func()) net.Conn {
	return &telling{Conn: conn, then: then}
}

type telling struct {
	net.Conn
	once sync.Once
	then func()
}

// Close implements net.Conn.
func (c *telling) Close() error {
	c.once.Do(c.then)
	return c.Conn.Close()
}
