package staging

import (
	"fmt"
	"strings"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/staging"
)

// buildpacks of a build: those that were asked for, in order, or else all that
// fit the stack, to be detected.
func buildpacks(v *state.View, b cf.Build) (all []staging.Buildpack, detect bool, err error) {
	if len(b.Buildpacks) == 0 {
		for _, bp := range v.Buildpacks() {
			if bp.Enabled && bp.Ready() && fits(bp, b.Stack) {
				all = append(all, named(bp))
			}
		}
		if len(all) == 0 {
			return nil, true, &failure{staging.ErrNoAppDetected, fmt.Sprintf(
				"No buildpack is enabled for the stack %q (cf buildpacks).", b.Stack)}
		}
		return all, true, nil
	}
	for _, want := range b.Buildpacks {
		bp, err := asked(v, want, b.Stack)
		if err != nil {
			return nil, false, err
		}
		all = append(all, bp)
	}
	return all, false, nil
}

func asked(v *state.View, want, stack string) (staging.Buildpack, error) {
	if strings.Contains(want, "://") {
		return staging.Buildpack{Name: withoutUser(want), URL: want}, nil
	}
	var found *cf.Buildpack
	for _, bp := range v.BuildpacksByName(want) {
		// One for the stack itself wins over one for any.
		if fits(bp, stack) && (found == nil || found.Stack == "") {
			found = &bp
		}
	}
	switch {
	case found == nil:
		return staging.Buildpack{}, &failure{staging.ErrStaging, fmt.Sprintf(
			"There is no buildpack %q for the stack %q (cf buildpacks).", want, stack)}
	case !found.Enabled:
		return staging.Buildpack{}, &failure{staging.ErrStaging, fmt.Sprintf(
			"The buildpack %q is disabled (cf update-buildpack %s --enable).", want, want)}
	case !found.Ready():
		return staging.Buildpack{}, &failure{staging.ErrStaging, fmt.Sprintf(
			"The buildpack %q has no content yet (cf update-buildpack %s -p FILE).", want, want)}
	}
	return named(*found), nil
}

func fits(bp cf.Buildpack, stack string) bool { return bp.Stack == "" || bp.Stack == stack }

// named describes an administrator's buildpack: bits that were uploaded
// replace the stager's own.
func named(bp cf.Buildpack) staging.Buildpack {
	if bp.Bits.Digest != "" {
		return staging.Buildpack{Name: bp.Name, Blob: bp.Bits}
	}
	return staging.Buildpack{Name: bp.Name, Builtin: bp.Name}
}

// withoutUser hides a name and password in a URL.
func withoutUser(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, slash := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if slash {
		host += "/"
	}
	return scheme + "://" + host + path
}
