package buildpacks

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
)

// Go toolchains are modules: golang.org/toolchain, one version for each
// release and platform. They are fetched from the module proxy and compared with
// the checksum database, as the go command of newer versions does itself.

const (
	toolchainModule = "golang.org/toolchain"
	defaultProxy    = "https://proxy.golang.org"
	sumDatabase     = "sum.golang.org"
	sumKey          = sumDatabase + "+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
	// firstToolchain is the first release that is such a module.
	firstToolchain = "go1.21.0"
)

// chooseGo puts a Go that can build the module first on the PATH of env, and
// returns its version.
func chooseGo(ctx context.Context, c *Context, mod *modfile.File, env map[string]string) (string, error) {
	want := wantedGo(mod, env["GOVERSION"])
	var out strings.Builder
	local := map[string]string{"GOTOOLCHAIN": "local", "GOFLAGS": ""}
	if err := c.Run(ctx, Command{Args: []string{"go", "env", "GOVERSION"}, Env: local, Dir: c.Temp, Stdout: &out}); err == nil {
		stack, _, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
		exact := env["GOVERSION"] != ""
		if version.IsValid(stack) && (want == "" || !exact && version.Compare(stack, want) >= 0 || stack == want) {
			c.Log.Step("Using %s of the stack", stack)
			return strings.TrimPrefix(stack, "go"), nil
		}
	}
	if want == "" || version.Compare(want, firstToolchain) < 0 {
		want = firstToolchain
	}
	c.Log.Step("Installing %s", want)
	root, err := installGo(ctx, c, want, env)
	if err != nil {
		return "", err
	}
	env["PATH"], env["GOROOT"] = filepath.Join(root, "bin")+":"+env["PATH"], root
	return strings.TrimPrefix(want, "go"), nil
}

// wantedGo returns the release that a module asks for, "" for any. exact is
// what the developer's GOVERSION says, and wins.
func wantedGo(mod *modfile.File, exact string) string {
	want := ""
	switch {
	case exact != "":
		want = "go" + strings.TrimPrefix(exact, "go")
	case mod.Toolchain != nil && mod.Toolchain.Name != "default" && version.IsValid(mod.Toolchain.Name):
		want = mod.Toolchain.Name
	case mod.Go != nil:
		want = "go" + mod.Go.Version
	}
	// Since 1.21 a release has three numbers.
	if version.IsValid(want) && version.Lang(want) == want && version.Compare(want, "go1.21") >= 0 {
		want += ".0"
	}
	return want
}

// installGo returns the folder of a Go release.
func installGo(ctx context.Context, c *Context, release string, env map[string]string) (string, error) {
	if !version.IsValid(release) {
		return "", fmt.Errorf("%q is no Go release", release)
	}
	v := "v0.0.1-" + release + "." + runtime.GOOS + "-" + runtime.GOARCH
	kept := filepath.Join(c.Cache, "go")
	file := filepath.Join(kept, v+".zip")
	var failures []error
	for _, proxy := range proxies(env["GOPROXY"]) {
		err := fetchFile(ctx, proxy+"/"+toolchainModule+"/@v/"+v+".zip", file, func(name string) error {
			return checkToolchain(ctx, name, v, proxy, env["GOSUMDB"])
		})
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err == nil {
			failures = nil
			break
		}
		failures = append(failures, err)
	}
	if len(failures) > 0 {
		return "", fmt.Errorf("the module proxy has no %s: %w", release, errors.Join(failures...))
	}
	if _, err := os.Stat(file); err != nil {
		return "", errors.New("GOPROXY names no module proxy to fetch Go from")
	}
	root := filepath.Join(c.Temp, "go-"+release)
	return root, errors.Join(keepOnly(kept, v+".zip"), unzipToolchain(ctx, file, toolchainModule+"@"+v+"/", root))
}

// proxies returns the module proxies of a GOPROXY, without a slash at the end.
func proxies(list string) []string {
	if list == "" {
		list = defaultProxy
	}
	var out []string
	for one := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == '|' }) {
		one = strings.TrimRight(strings.TrimSpace(one), "/")
		if strings.HasPrefix(one, "https://") || strings.HasPrefix(one, "http://") {
			out = append(out, one)
		}
	}
	return out
}

// checkToolchain compares a zip with the checksum database, unless GOSUMDB
// says off.
func checkToolchain(ctx context.Context, name, v, proxy, database string) error {
	if database == "off" {
		return nil
	}
	got, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		return err
	}
	lines, err := sumdb.NewClient(&sumClient{ctx: ctx, base: proxy + "/sumdb/" + sumDatabase}).Lookup(toolchainModule, v)
	if err != nil {
		return fmt.Errorf("the checksum database: %w", err)
	}
	for _, line := range lines {
		if line == toolchainModule+" "+v+" "+got {
			return nil
		}
	}
	return errors.New("it is not what the checksum database says")
}

// unzipToolchain unpacks a module's zip, which has no modes: what lies in a
// folder of programs becomes one.
func unzipToolchain(ctx context.Context, name, prefix, dir string) error {
	archive, err := zip.OpenReader(name)
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := uint64(maxUnpacked)
	for _, e := range archive.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		local, ok := strings.CutPrefix(e.Name, prefix)
		if !ok || strings.HasSuffix(local, "/") {
			continue
		}
		if left < e.UncompressedSize64 {
			return errors.New("the toolchain is larger than any")
		}
		left -= e.UncompressedSize64 // archive/zip gives no more than that
		if err := unzipOne(root, local, e); err != nil {
			return err
		}
	}
	return nil
}

func unzipOne(root *os.Root, local string, e *zip.File) error {
	perm := os.FileMode(0o644)
	if strings.HasPrefix(local, "bin/") || strings.HasPrefix(local, "pkg/tool/") || filepath.Ext(local) == ".bash" {
		perm = 0o755
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return writeBelow(root, local, r, perm)
}

// sumClient reads the checksum database through a module proxy. It keeps
// nothing: one build asks once.
type sumClient struct {
	ctx  context.Context
	base string
}

// ReadRemote fetches a path of the database.
func (s *sumClient) ReadRemote(path string) ([]byte, error) {
	var raw bytes.Buffer
	err := fetch(s.ctx, s.base+path, "", maxIndex, &raw, func() error { raw.Reset(); return nil })
	return raw.Bytes(), err
}

// ReadConfig returns the database's key, and that nothing is known of it yet.
func (s *sumClient) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(sumKey), nil
	}
	return []byte{}, nil
}

// WriteConfig keeps nothing.
func (s *sumClient) WriteConfig(string, []byte, []byte) error { return nil }

// ReadCache finds nothing.
func (s *sumClient) ReadCache(string) ([]byte, error) { return nil, os.ErrNotExist }

// WriteCache keeps nothing.
func (s *sumClient) WriteCache(string, []byte) {}

// Log is silent.
func (s *sumClient) Log(string) {}

// SecurityError is returned by Lookup as well.
func (s *sumClient) SecurityError(string) {}
