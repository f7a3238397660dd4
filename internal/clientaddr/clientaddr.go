// Package clientaddr tells who has sent a request that came through a router
// of the cluster.
package clientaddr

import (
	"net"
	"net/http"
	"strings"
)

// Of is the client's address: routers append it to X-Forwarded-For, and nobody
// but routers can connect. An IPv6 client is known by its /64, of which it can
// use any address. What is no address is "unknown".
func Of(r *http.Request) string {
	address := r.RemoteAddr
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	if values := r.Header.Values("X-Forwarded-For"); len(values) > 0 {
		last := values[len(values)-1]
		address = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	ip := net.ParseIP(address)
	if ip == nil {
		return "unknown"
	}
	if ip.To4() == nil {
		ip = ip.Mask(net.CIDRMask(64, 128))
	}
	return ip.String()
}
