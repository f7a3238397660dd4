// Command client asks for names as an app does, and by TCP, and tries a port:
// client NAME… HOST:PORT…
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	for _, arg := range os.Args[1:] {
		if strings.Contains(arg, ":") {
			conn, err := net.DialTimeout("tcp", arg, time.Second)
			if err == nil {
				conn.Close()
			}
			fmt.Println(arg, err == nil)
			continue
		}
		for _, network := range []string{"udp", "tcp"} {
			r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			}}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			got, err := r.LookupHost(ctx, arg)
			cancel()
			slices.Sort(got)
			fmt.Println(arg, network, strings.Join(got, ","), err)
		}
	}
}
