package table

import (
	"strings"

	"github.com/stackato/stackato/wire/routing"
)

// Bounds of what is a route. Hosts as DNS has them, paths as Cloud Foundry's
// API takes them (128 characters), with room.
const (
	maxHost = 253
	maxPath = 512
)

// Host returns the host of a Host header or of a TLS server name in the form
// of a route's key: lower case, without port and without a dot at the end. It
// is "" for what cannot be the host of a route, as addresses in brackets. It allocates only if there are
// capitals in it.
func Host(header string) string {
	h := withoutPort(header)
	h = strings.TrimSuffix(h, ".")
	if h == "" || len(h) > maxHost {
		return ""
	}
	capitals := false
	for i := range len(h) {
		c := h[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && 0 < i && i < len(h)-1 && h[i-1] != '.':
		case 'A' <= c && c <= 'Z':
			capitals = true
		default:
			return ""
		}
	}
	if capitals {
		return strings.ToLower(h)
	}
	return h
}

// withoutPort cuts ":8080" off. Of an IPv6 address it leaves what is no host, as
// of what is no port: apps would be handed a host that nobody looked at.
func withoutPort(s string) string {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s
	}
	if len(s)-i > len(":65535") {
		return s
	}
	for _, c := range []byte(s[i+1:]) {
		if c < '0' || c > '9' {
			return s
		}
	}
	return s[:i]
}

// cleanKey brings the key of a route into the form in which it is looked up.
// Paths are folded to lower case, as gorouter compares them.
func cleanKey(k routing.Key) (key routing.Key, wild, ok bool) {
	host := k.Host
	if rest, found := strings.CutPrefix(host, "*."); found {
		host, wild = rest, true
	}
	key.Host = Host(host)
	if key.Host == "" || strings.ContainsRune(host, ':') {
		return key, wild, false
	}
	path := strings.ToLower(strings.TrimRight(k.Path, "/"))
	if path == "" {
		return key, wild, true
	}
	if path[0] != '/' || len(path) > maxPath || strings.ContainsAny(path, "?# \t\r\n") {
		return key, wild, false
	}
	key.Path = path
	return key, wild, true
}
