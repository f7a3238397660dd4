package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/stackato/stackato/agent/local"
)

// File is a file or directory whose permissions matter.
type File struct {
	Path     string      // the last element may be a pattern of filepath.Glob
	Mode     fs.FileMode // permission bits that it may have at most
	Required bool        // on this node
}

// SecretFiles returns what must be private in a data directory. None is
// required: which of them a node has depends on its roles.
func SecretFiles(dataDir string) []File {
	at := func(mode fs.FileMode, elem ...string) File {
		return File{Path: filepath.Join(append([]string{dataDir}, elem...)...), Mode: mode}
	}
	return []File{
		at(0o755), at(0o755, "run"), at(0o660, "run", "agent.sock"),
		at(0o700, "pki"), at(0o600, "pki", "*.key"), at(0o600, "pki", "*.keyring"),
		at(0o600, "*.keyring"), at(0o600, "*.json"), at(0o600, "admin.txt"),
		at(0o700, "raft"), at(0o700, "consul"), at(0o700, "nomad"),
		at(0o600, "consul", "config.json"), at(0o750, "logs"),
	}
}

func (env Env) files(context.Context) []local.Finding {
	if len(env.Files) == 0 {
		return env.nothing()
	}
	var out []local.Finding
	looked := 0
	for _, f := range env.Files {
		paths, err := filepath.Glob(f.Path)
		if err != nil {
			paths = []string{f.Path}
		}
		if len(paths) == 0 && f.Required {
			out = append(out, failed("restart the agent, which writes it again; if it stays away join the node again", "%s is missing", f.Path)...)
		}
		for _, p := range paths {
			looked++
			out = append(out, judgeFile(p, f.Mode, os.Geteuid())...)
		}
	}
	if len(out) > 0 {
		return out
	}
	return ok("%d files and directories are private", looked)
}

// judgeFile returns what is wrong with a file.
func judgeFile(path string, most fs.FileMode, uid int) []local.Finding {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // went away meanwhile
		return nil
	case err != nil:
		return warned("run the agent as root", "%v", err)
	case info.Mode().Type() == fs.ModeSymlink:
		return failed("put the file itself there: "+path, "%s is a symbolic link", path)
	}
	var out []local.Finding
	if over := info.Mode().Perm() &^ most; over != 0 {
		out = append(out, failed(fmt.Sprintf("chmod %04o %s; if others could read it change the secret: kato rotate", most, path),
			"%s has mode %04o, at most %04o is private", path, info.Mode().Perm(), most)...)
	}
	if st, isStat := info.Sys().(*syscall.Stat_t); isStat && int(st.Uid) != uid {
		out = append(out, failed(fmt.Sprintf("chown %d %s", uid, path), "%s belongs to user %d, not to the agent's (%d)", path, st.Uid, uid)...)
	}
	return out
}
