package buildpacks

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// upstream is where a tool fetches from.
type upstream struct {
	name     string // "the npm registry"
	variable string // names another one
	without  string // what to do without one
}

// run runs a tool that fetches, and adds to its failure what can be done if it
// was the network's.
func (u upstream) run(ctx context.Context, c *Context, command Command) error {
	var n network
	command.Watch = &lines{look: n.look}
	err := c.Run(ctx, command)
	if advice := n.advice(u); err != nil && advice != "" {
		return fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

// network is what a tool's output says of the way to its registry.
type network struct{ unreachable, untrusted, proxy bool }

// look knows the words of pip 23, npm 9 and Go.
func (n *network) look(line string) {
	says := says(line)
	npm := says("npm ERR! code ")
	n.untrusted = n.untrusted || says("CERTIFICATE_VERIFY_FAILED", "problem confirming the ssl certificate", ": x509: ") || npm && says("CERT", "LEAF_SIGNATURE")
	n.proxy = n.proxy || says("ProxyError", "Cannot connect to proxy", "Tunnel connection failed", ": proxyconnect tcp: ")
	n.unreachable = n.unreachable || says("Retrying (Retry(", "Max retries exceeded", "Temporary failure in name resolution", "ReadTimeoutError", ": dial tcp", "net/http: TLS handshake timeout") ||
		npm && says("EAI_AGAIN", "ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")
}

// advice is a sentence on what to do, "" if nothing is wrong with the network.
func (n *network) advice(u upstream) string {
	switch {
	case n.untrusted:
		return fmt.Sprintf("the certificate of %s, or of the proxy before it, is not trusted: an operator adds its authority (kato config set cloud/certificates)", u.name)
	case n.proxy:
		return fmt.Sprintf("%s was not reached through the proxy: an operator looks at cloud/staging_http_proxy and cloud/staging_no_proxy (kato config get cloud)", u.name)
	case n.unreachable:
		return fmt.Sprintf("%s cannot be reached from here: name one that can be in %s (cf set-env), ask an operator for a proxy (cloud/staging_http_proxy), or %s", u.name, u.variable, u.without)
	}
	return ""
}

// says returns what reports whether a line has one of some words.
func says(line string) func(words ...string) bool {
	return func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(line, word) {
				return true
			}
		}
		return false
	}
}

// maxLine bounds what is looked at of a line, in bytes.
const maxLine = 4 << 10

// lines is a writer that has each line looked at.
type lines struct {
	look func(line string)
	kept []byte
}

// Write never fails.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		head, rest, ended := bytes.Cut(p, []byte{'\n'})
		l.kept = append(l.kept, head[:min(len(head), maxLine-len(l.kept))]...)
		if !ended {
			return n, nil
		}
		l.look(string(l.kept))
		l.kept, p = l.kept[:0], rest
	}
}
