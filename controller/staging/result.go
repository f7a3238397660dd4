package staging

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

// Bounds of what a build may say. The stager holds builds to the same, but it
// passes on what strangers' code has written, who may have written it past it:
// it becomes rows, labels of containers and lines on terminals.
const (
	maxTypes   = 100
	maxCommand = 4096
	maxWord    = 255
	maxDetail  = 2 << 10
	maxMemory  = 1 << 20 // MiB
)

// typeName is what a process type may be called.
var typeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// codes are the words for failures that a build may use.
var codes = []string{
	staging.ErrNoAppDetected, staging.ErrDetectFailed, staging.ErrCompileFailed, staging.ErrReleaseFailed, staging.ErrStaging,
	staging.ErrTimeout, staging.ErrOutOfMemory, staging.ErrInsufficient, staging.ErrInvalidPackage,
}

// plain returns a result whose texts can be shown.
func plain(r staging.Result) staging.Result {
	if r.Error != "" && !slices.Contains(codes, r.Error) {
		r.Error = staging.ErrStaging
	}
	r.Detail = text(r.Detail, maxDetail)
	r.Buildpacks = slices.Clone(r.Buildpacks[:min(len(r.Buildpacks), maxTypes)])
	for i, b := range r.Buildpacks {
		r.Buildpacks[i] = staging.Detected{
			Name: text(b.Name, maxWord), DetectOutput: text(b.DetectOutput, maxWord), Version: text(b.Version, maxWord),
		}
	}
	return r
}

// text is s without what steers a terminal, of at most so many bytes.
func text(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	s = strings.ToValidUTF8(s, "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
}

// unsound says what is wrong with the processes of a result, "" if nothing is.
func unsound(r staging.Result) string {
	if len(r.ProcessTypes) > maxTypes || len(r.Sidecars) > maxTypes {
		return fmt.Sprintf("more than %d process types or sidecars", maxTypes)
	}
	for _, name := range slices.Sorted(maps.Keys(r.ProcessTypes)) {
		if why := unsoundCommand(name, r.ProcessTypes[name]); why != "" {
			return why
		}
	}
	for _, s := range r.Sidecars {
		if why := unsoundSidecar(s); why != "" {
			return why
		}
	}
	return ""
}

func unsoundCommand(name, command string) string {
	switch {
	case !typeName.MatchString(name):
		return fmt.Sprintf("%.60q cannot be a process type", name)
	case len(command) > maxCommand || strings.ContainsRune(command, 0) || !utf8.ValidString(command):
		return "the command of process type " + name + " is too long or no text"
	}
	return ""
}

func unsoundSidecar(s instance.Sidecar) string {
	switch {
	case s.Name == "" || s.Name != text(s.Name, maxWord):
		return fmt.Sprintf("%.60q cannot be a sidecar's name", s.Name)
	case len(s.Command) > maxCommand || strings.ContainsRune(s.Command, 0) || !utf8.ValidString(s.Command):
		return fmt.Sprintf("the command of sidecar %q is too long or no text", s.Name)
	case s.MemoryMB < 0 || s.MemoryMB > maxMemory:
		return fmt.Sprintf("sidecar %q has %d MB of memory", s.Name, s.MemoryMB)
	case len(s.ProcessTypes) > maxTypes || slices.ContainsFunc(s.ProcessTypes, func(t string) bool { return !typeName.MatchString(t) }):
		return fmt.Sprintf("sidecar %q is for what cannot be process types", s.Name)
	}
	return ""
}
