package blob

import (
	"path"
	"strings"
)

const (
	maxPath      = 4096 // bytes, as Linux
	maxComponent = 255
	maxHops      = 40 // links in a row, as Linux
)

// cleanPath returns an entry's name without needless parts, or says why it
// must not be unpacked. A folder's name loses its slash; "./" is ".".
func cleanPath(name string) (string, error) {
	slashed := strings.ReplaceAll(name, `\`, "/") // some tools unpack them so
	switch {
	case name == "":
		return "", invalid(name, "the entry has no name")
	case len(name) > maxPath:
		return "", invalid(name, "the path has more than %d bytes", maxPath)
	case strings.ContainsRune(name, 0):
		return "", invalid(name, "the path contains a zero byte")
	case strings.HasPrefix(slashed, "/"), len(slashed) > 2 && slashed[1] == ':' && slashed[2] == '/':
		return "", invalid(name, "the path is absolute")
	}
	for part := range strings.SplitSeq(slashed, "/") {
		if part == ".." {
			return "", invalid(name, "the path leaves the application's directory")
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxComponent {
			return "", invalid(name, "a part of the path has more than %d bytes", maxComponent)
		}
	}
	return path.Clean(name), nil
}

type kind byte

const (
	kindDir kind = iota + 1
	kindFile
	kindLink
)

// tree is what an archive would unpack to.
type tree struct {
	kinds map[string]kind
	links map[string]string // targets
}

func newTree() *tree { return &tree{kinds: map[string]kind{}, links: map[string]string{}} }

// add notes an entry by its clean name.
func (t *tree) add(name string, k kind) error {
	old, there := t.kinds[name]
	if there && (old != kindDir || k != kindDir) {
		return invalid(name, "the name occurs twice")
	}
	t.kinds[name] = k
	return nil
}

// check refuses entries below a file or a link.
func (t *tree) check() error {
	for name := range t.kinds {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if k, there := t.kinds[dir]; there && k != kindDir {
				return invalid(name, "%s is not a directory", shown(dir))
			}
		}
	}
	return nil
}

// checkLinks follows every link through all others, as the kernel would, and
// refuses those that lead out of the tree.
func (t *tree) checkLinks() error {
	for name, target := range t.links {
		if target == "" || strings.ContainsRune(target, 0) {
			return invalid(name, "the symbolic link has no valid target")
		}
		if t.escapes(name) {
			return invalid(name, "the symbolic link points outside of the application's directory (%s)", shown(target))
		}
	}
	return nil
}

// escapes resolves a path and reports whether it gets above the root. A chain
// of too many links cannot be followed by the kernel either: no escape.
func (t *tree) escapes(name string) bool {
	var at []string // resolved directory
	todo := strings.Split(name, "/")
	for hops := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, part)
		target, isLink := t.links[strings.Join(at, "/")]
		if !isLink {
			continue
		}
		if hops++; hops > maxHops {
			return false
		}
		if strings.HasPrefix(target, "/") {
			return true
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(target, "/"), todo...)
	}
	return false
}
