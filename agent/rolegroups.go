package agent

import (
	"errors"
	"os"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// readGroups reads the administrators' role groups; a missing file means the
// built-in ones.
func readGroups(path string) (node.Groups, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return node.BuiltinGroups(), nil
	}
	if err != nil {
		return nil, local.Errorf(local.CodeRefused, "mend or remove the file", "role groups: %v", err)
	}
	g, err := node.ParseGroups(data)
	if err != nil {
		return nil, local.Errorf(local.CodeRefused, "mend the file; nothing was changed", "%s: %v", path, err)
	}
	return g, nil
}
