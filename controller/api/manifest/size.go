package manifest

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

// Bounds of a document once its aliases stand for what they name. The time to
// merge maps, and to look for a key that is there twice, grows with their
// squares.
const (
	maxNodes = 100_000
	maxKeys  = 5_000 // of one map
)

var errSize = errors.New("it is too large when its aliases are written out")

// checkSize refuses a document that is cheap to send and dear to decode.
func checkSize(doc *yaml.Node) error {
	if sizeOf(doc, map[*yaml.Node]int{}) > maxNodes {
		return errSize
	}
	return nil
}

// sizeOf counts the nodes, at most maxNodes+1. An anchor within itself is too
// large.
func sizeOf(n *yaml.Node, known map[*yaml.Node]int) int {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if size, ok := known[n]; ok {
		return size
	}
	known[n] = maxNodes + 1
	if n.Kind == yaml.MappingNode && len(n.Content) > 2*maxKeys {
		return maxNodes + 1
	}
	size := 1
	for _, c := range n.Content {
		if size += sizeOf(c, known); size > maxNodes {
			return maxNodes + 1
		}
	}
	known[n] = size
	return size
}
