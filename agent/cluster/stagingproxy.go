package cluster

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/stackato/stackato/wire/rpcerr"
)

// maxNoProxy bounds the hosts that builds reach without the proxy: the list is
// in the environment of every program of a build.
const maxNoProxy = 256

// hostOrDomain is a host's name, or a domain with or without a dot before it.
var hostOrDomain = regexp.MustCompile(`^\.?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// checkStagingProxy accepts what every tool of a build takes for a proxy.
func checkStagingProxy(value json.RawMessage) error {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%s is a text", stagingProxy).WithHint("kato config set --string %s http://proxy:3128", stagingProxy)
	}
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		// Not the value: it may hold a password.
		return rpcerr.New(rpcerr.Invalid, "%s is no address of a proxy", stagingProxy).WithHint("write http://HOST:PORT; https addresses go through it, too")
	}
	return nil
}

// checkNoProxy accepts what every tool of a build understands as no_proxy.
func checkNoProxy(value json.RawMessage) error {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%s is a text", stagingNoProxy).WithHint("kato config set --string %s registry.example.com,.corp.example.com", stagingNoProxy)
	}
	if s == "" {
		return nil
	}
	list := strings.Split(s, ",")
	if len(list) > maxNoProxy {
		return rpcerr.New(rpcerr.Invalid, "%d hosts, at most %d are taken", len(list), maxNoProxy).WithHint("name their domain: .example.com")
	}
	for _, host := range list {
		if err := checkNoProxyHost(host); err != nil {
			return err
		}
	}
	return nil
}

func checkNoProxyHost(host string) error {
	_, prefixErr := netip.ParsePrefix(host)
	if _, err := netip.ParseAddr(host); err == nil || prefixErr == nil || hostOrDomain.MatchString(host) {
		return nil
	}
	refused := rpcerr.New(rpcerr.Invalid, "%.60q is no host, domain, address or network", host)
	switch {
	case host == "*":
		return refused.WithHint("builds go without the proxy after: kato config del %s", stagingProxy)
	case strings.HasPrefix(host, "*."):
		return refused.WithHint("write %.60s: it stands for every host of the domain", host[1:])
	case strings.Contains(host, "://"):
		return refused.WithHint("write the host alone, without http:// and without a path")
	case strings.Contains(host, ":"):
		return refused.WithHint("write the host without its port: not every tool knows ports here")
	}
	return refused.WithHint("write hosts with commas and no spaces between them: registry.example.com,.corp.example.com,10.0.0.7")
}
