package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

// Limits of what a droplet may say of its processes.
const (
	maxProcesses = 100
	maxCommand   = 4096 // bytes, as in Cloud Foundry
)

// release finds out how the app starts: the buildpack's word, over it what the
// buildpacks' launch.yml say, over all the Procfile. It returns the final
// buildpack's own command for "web".
func (b *Build) release(ctx context.Context, chosen []pack, result *staging.Result) (string, error) {
	last := len(chosen) - 1
	c, err := b.context(chosen[last], last, true)
	if err != nil {
		return "", err
	}
	released, err := chosen[last].Release(ctx, c)
	if err := b.failed(ctx, err, staging.ErrReleaseFailed, "release", 224); err != nil {
		return "", err
	}
	types := maps.Clone(released.ProcessTypes)
	if types == nil {
		types = map[string]string{}
	}
	if err := b.launchFiles(len(chosen), types, result); err != nil {
		return "", failure(staging.ErrReleaseFailed, "%v", err)
	}
	procfile, err := readProcfile(b.dir("app/Procfile"))
	if err != nil {
		return "", failure(staging.ErrReleaseFailed, "%v", err)
	}
	maps.Copy(types, procfile)
	if err := checkTypes(types); err != nil {
		return "", failure(staging.ErrReleaseFailed, "%v", err)
	}
	if types["web"] == "" {
		delete(types, "web")
		b.log.Say("No start command specified by buildpack or via Procfile.")
		b.log.Say("App will not start unless a command is provided at runtime.")
	}
	result.ProcessTypes = types
	result.Buildpacks = b.detected(chosen)
	return types["web"], nil
}

// processType is a line of a Procfile.
var processType = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.*\S)\s*$`)

// typeName is what a process type may be called.
var typeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// readProcfile reads a Procfile: YAML, as in Cloud Foundry, or where that
// fails lines of "type: command". A missing one is empty.
func readProcfile(name string) (map[string]string, error) {
	raw, err := readSmall(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	types := map[string]string{}
	if yaml.Unmarshal(raw, &types) == nil {
		return types, nil
	}
	types = map[string]string{}
	for i, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := processType.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d of the Procfile is not of the form TYPE: COMMAND", i+1)
		}
		types[m[1]] = m[2]
	}
	return types, nil
}

func checkTypes(types map[string]string) error {
	if len(types) > maxProcesses {
		return fmt.Errorf("the app has %d process types; %d are allowed", len(types), maxProcesses)
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if !typeName.MatchString(name) {
			return fmt.Errorf("%q cannot be a process type: use letters, digits, - and _", clip(name, maxWord))
		}
		if len(types[name]) > maxCommand {
			return fmt.Errorf("the command of process type %s is longer than %d bytes", name, maxCommand)
		}
	}
	return nil
}

// launchFile is deps/<index>/launch.yml, in which a buildpack adds processes,
// and sidecars of them.
type launchFile struct {
	Processes []struct {
		Type    string `yaml:"type"`
		Command string `yaml:"command"`
		Limits  struct {
			Memory int `yaml:"memory"` // MiB
		} `yaml:"limits"`
		Platforms struct {
			CloudFoundry struct {
				SidecarFor []string `yaml:"sidecar_for"`
			} `yaml:"cloudfoundry"`
		} `yaml:"platforms"`
	} `yaml:"processes"`
}

func (b *Build) launchFiles(count int, types map[string]string, result *staging.Result) error {
	for i := range count {
		raw, err := readSmall(filepath.Join(b.dir("deps"), strconv.Itoa(i), "launch.yml"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var file launchFile
		if err := yaml.Unmarshal(raw, &file); err != nil {
			return fmt.Errorf("launch.yml of buildpack %d: %w", i, err)
		}
		for _, p := range file.Processes {
			beside := p.Platforms.CloudFoundry.SidecarFor
			if len(beside) == 0 {
				types[p.Type] = p.Command
				continue
			}
			if len(result.Sidecars) == maxProcesses || len(beside) > maxProcesses {
				return fmt.Errorf("the buildpacks add more than %d sidecars", maxProcesses)
			}
			result.Sidecars = append(result.Sidecars, instance.Sidecar{
				Name: clip(p.Type, maxWord), Command: clip(p.Command, maxCommand), MemoryMB: p.Limits.Memory,
				ProcessTypes: beside,
			})
		}
	}
	return nil
}

// stagingInfo is staging_info.yml of a droplet.
type stagingInfo struct {
	DetectedBuildpack string `yaml:"detected_buildpack"`
	StartCommand      string `yaml:"start_command"`
}

func (b *Build) describe(chosen []pack, started string) error {
	last := chosen[len(chosen)-1]
	raw, err := yaml.Marshal(stagingInfo{DetectedBuildpack: last.name(), StartCommand: started})
	if err != nil {
		return err
	}
	return os.WriteFile(b.dir("staging_info.yml"), raw, 0o644)
}

// pack writes the droplet.
func (b *Build) pack(ctx context.Context) error {
	b.log.Say("Creating droplet...")
	for _, name := range []string{"tmp", "logs"} {
		if err := os.MkdirAll(b.dir(name), 0o755); err != nil {
			return err
		}
	}
	return writeTar(ctx, b.Droplet, b.Home, append(dropletDirs[:len(dropletDirs):len(dropletDirs)], "staging_info.yml"), b.started)
}

// keepCache writes the build cache, or nothing if no buildpack kept anything.
func (b *Build) keepCache(ctx context.Context) error {
	found := false
	err := filepath.WalkDir(b.temp("cache"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = true
			return filepath.SkipAll
		}
		return err
	})
	if err != nil || !found {
		return err
	}
	return writeTar(ctx, b.CacheOut, b.temp("cache"), []string{"."}, b.started)
}
