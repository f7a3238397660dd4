package lifecycle

import (
	"maps"
	"net/url"
	"os"
	"strconv"
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
	maps.Copy(env, b.Spec.Env)
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

// behindProxy reports whether https goes through a proxy in this environment.
func (b *Build) behindProxy() bool {
	for _, name := range []string{"https_proxy", "HTTPS_PROXY"} {
		if u, err := url.Parse(b.env[name]); err == nil && u.Host != "" {
			return true
		}
	}
	return false
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
