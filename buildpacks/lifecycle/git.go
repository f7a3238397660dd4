package lifecycle

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/stackato/stackato/buildpacks"
	"github.com/stackato/stackato/wire/staging"
)

// maxModules bounds the submodules of a git buildpack.
const maxModules = 20

// clone fetches a buildpack from git: https only, never from an internal
// address, redirects not followed, submodules by the same rules.
func (b *Build) clone(ctx context.Context, i int, source string) (buildpacks.Buildpack, error) {
	address, branch, _ := strings.Cut(source, "#")
	b.log.Say("Cloning buildpack %s", redact(source))
	dir := b.packDir(i)
	if err := b.cloneOne(ctx, address, branch, dir); err != nil {
		return nil, b.gitFailure(ctx, address, err)
	}
	if err := b.cloneModules(ctx, address, dir); err != nil {
		return nil, b.gitFailure(ctx, address, err)
	}
	return openScripts(redact(source), dir)
}

func (b *Build) gitFailure(ctx context.Context, address string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return failure(staging.ErrStaging, "Failed to clone the git buildpack %s: %v", redact(address), err)
}

func (b *Build) cloneOne(ctx context.Context, address, branch, dir string) error {
	options, err := b.gitOptions(ctx, address)
	if err != nil {
		return err
	}
	args := append([]string{"git"}, options...)
	args = append(args, "clone", "--quiet", "--depth", "1")
	if branch != "" {
		args = append(args, "--branch="+branch)
	}
	return b.git(ctx, append(args, "--", address, dir)...)
}

func (b *Build) git(ctx context.Context, args ...string) error {
	c := &buildpacks.Context{App: b.dir("app"), Env: b.env, Log: b.log}
	return b.runner(c)(ctx, buildpacks.Command{Args: args, Dir: b.Temp, Env: map[string]string{
		"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
		"GIT_ALLOW_PROTOCOL": b.gitProtocols(),
	}})
}

func (b *Build) gitProtocols() string {
	if b.AllowInternal {
		return "file:http:https"
	}
	return "https"
}

// gitOptions checks an address and returns options that hold git to what was
// checked: the name cannot become another address afterwards.
func (b *Build) gitOptions(ctx context.Context, address string) ([]string, error) {
	if b.AllowInternal {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("only https addresses are allowed")
	}
	options := []string{"-c", "http.followRedirects=false"}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if internal(ip) {
			return nil, fmt.Errorf("%s is an internal address", ip)
		}
		return options, nil
	}
	if b.behindProxy(u.Hostname()) {
		return options, nil // the proxy resolves names, and guards what is inside
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, err
	}
	var list []string
	for _, ip := range addresses {
		if internal(ip) {
			return nil, fmt.Errorf("%s is an internal address (%s)", u.Hostname(), ip.Unmap())
		}
		list = append(list, ip.Unmap().String())
	}
	return append(options, "-c", fmt.Sprintf("http.curloptResolve=%s:%s:%s", u.Hostname(), port, strings.Join(list, ","))), nil
}

// further are ranges that are not for the internet and that netip does not
// know: shared (RFC 6598), "this network", benchmarks, reserved.
var further = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("2002::/16"),
}

func internal(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range further {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// cloneModules fetches submodules, one level deep, at the commits that the
// buildpack names.
func (b *Build) cloneModules(ctx context.Context, address, dir string) error {
	file := filepath.Join(dir, ".gitmodules")
	if !exists(file) {
		return nil
	}
	out := &bounded{limit: maxSmall}
	c := &buildpacks.Context{App: dir, Env: b.env, Log: b.log}
	err := b.runner(c)(ctx, buildpacks.Command{
		Args: []string{"git", "config", "--file", file, "--get-regexp", `^submodule\..*\.url$`}, Stdout: out,
	})
	if err != nil {
		return fmt.Errorf(".gitmodules: %w", err)
	}
	options := map[string]bool{}
	var args []string
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) > maxModules {
		return fmt.Errorf("it has %d submodules; %d are allowed", len(lines), maxModules)
	}
	for _, line := range lines {
		_, module, _ := strings.Cut(line, " ")
		if strings.HasPrefix(module, "./") || strings.HasPrefix(module, "../") {
			module = address // relative to it: the same host
		}
		more, err := b.gitOptions(ctx, module)
		if err != nil {
			return fmt.Errorf("submodule %s: %w", redact(module), err)
		}
		for i := 0; i+1 < len(more); i += 2 {
			if !options[more[i+1]] {
				options[more[i+1]] = true
				args = append(args, more[i], more[i+1])
			}
		}
	}
	args = append([]string{"git"}, args...)
	return b.git(ctx, append(args, "-C", dir, "submodule", "--quiet", "update", "--init", "--depth", "1")...)
}

// redact leaves out a password.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(an address that cannot be read)"
	}
	return u.Redacted()
}
