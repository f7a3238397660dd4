package lifecycle

import (
	"maps"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// defaultPath is where commands are looked for.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// TrustVariables are what Go, OpenSSL, Node.js, Python, git, curl and Ruby read to
// find trusted authorities. Each is set to one PEM file.
var TrustVariables = []string{
	"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE",
	"npm_config_cafile", "BUNDLE_SSL_CA_CERT", "CARGO_HTTP_CAINFO",
}

// environment returns what buildpacks see: defaults, which the app's own
// variables override, and what is as it is.
func (b *Build) environment() map[string]string {
	env := map[string]string{
		"PATH": defaultPath, "LANG": "C.UTF-8",
		// Python then compiles in a way that does not hang on times of files.
		"SOURCE_DATE_EPOCH": strconv.FormatInt(madeHere.Unix(), 10),
	}
	if b.Certificates != "" {
		for _, name := range TrustVariables {
			env[name] = b.Certificates
		}
	}
	maps.Copy(env, ProxyVariables(b.Spec.HTTPProxy, b.Spec.NoProxy))
	maps.Copy(env, bothSpellings(b.Spec.Env))
	maps.Copy(env, map[string]string{
		"HOME": b.Home, "USER": ownerName, "TMPDIR": b.Temp,
		"CF_STACK": b.Spec.Stack, "STACKATO_APP_NAME": b.Spec.AppName,
	})
	if b.Spec.MemoryMB > 0 {
		env["MEMORY_LIMIT"] = strconv.Itoa(b.Spec.MemoryMB) + "m"
	}
	return env
}

// ProxyVariables returns what makes programs use an HTTP proxy, none for "".
func ProxyVariables(proxy, except string) map[string]string {
	env := map[string]string{}
	if proxy == "" {
		return env
	}
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		env[name] = proxy
	}
	if except != "" {
		env["no_proxy"], env["NO_PROXY"] = except, except
	}
	return env
}

// bothSpellings is the app's environment; where it has one spelling of a
// proxy's variable the other becomes the same, lest tools take the operator's
// or the app's as they like.
func bothSpellings(app map[string]string) map[string]string {
	env := maps.Clone(app)
	for _, lower := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		upper := strings.ToUpper(lower)
		if v, ok := app[lower]; ok && app[upper] == "" {
			env[upper] = v
		} else if v, ok := app[upper]; ok && app[lower] == "" {
			env[lower] = v
		}
	}
	return env
}

// behindProxy reports whether https to a host goes through a proxy in this
// environment, whatever the tool: false if any may go there directly.
func (b *Build) behindProxy(host string) bool {
	if direct(b.env["no_proxy"], host) || direct(b.env["NO_PROXY"], host) {
		return false
	}
	for _, name := range []string{"https_proxy", "HTTPS_PROXY"} {
		if u, err := url.Parse(b.env[name]); err == nil && u.Host != "" {
			return true
		}
	}
	return false
}

// direct reports whether a list of exceptions may name a host. Tools differ:
// it errs on the side of yes.
func direct(exceptions, host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, e := range strings.FieldsFunc(strings.ToLower(exceptions), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if name, _, err := net.SplitHostPort(e); err == nil {
			e = name
		}
		e = strings.Trim(strings.TrimPrefix(e, "*"), ".")
		if e == "" || strings.HasSuffix(host, e) {
			return true // "*", or a name that some take for an end of names
		}
	}
	return false
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
