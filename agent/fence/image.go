package fence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/wire/instance"
)

// ErrNoImage says that an image that work needs is not on this node, or is
// not the one that was there first. Errors that wrap it say what to do.
var ErrNoImage = errors.New("image")

// ImageID returns the ID, which is a digest of the content, of an image.
func (e *Engine) ImageID(ctx context.Context, ref string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	i, err := e.client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", fmt.Errorf("%w %s is not on this node: build it with scripts/stack, or load it with docker load", ErrNoImage, ref)
	}
	if err != nil {
		return "", e.explain("inspect image", err)
	}
	return i.ID, nil
}

// Ready returns nil when the node can take work: the engine has said what runs,
// the guard holds, and every image of the configuration is there and is what it was when it was
// seen first. A tag that names other content than before is refused: what was
// staged against the one must not run in the other.
func (f *Fence) Ready(ctx context.Context) error {
	if err := f.cfg.Engine.Ping(ctx); err != nil {
		return err
	}
	if !f.table.isListed() {
		return errNotListed
	}
	if f.cfg.Guard != nil {
		if err := f.cfg.Guard.Ready(); err != nil {
			return err
		}
	}
	return f.HasImages(ctx)
}

// HasImages returns nil if every image of the configuration is there and is
// what it was when it was seen first, else an error that wraps ErrNoImage or
// [ErrUnreachable].
func (f *Fence) HasImages(ctx context.Context) error {
	if f.cfg.Images == nil {
		return nil
	}
	for _, ref := range f.cfg.Images() {
		if err := f.verify(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fence) verify(ctx context.Context, ref string) error {
	id, err := f.cfg.Engine.ImageID(ctx, ref)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known, err := f.knownImages()
	if err != nil {
		return err
	}
	switch known[ref] {
	case id:
		return nil
	case "":
		known[ref] = id
		data, err := json.Marshal(known)
		if err != nil {
			return err
		}
		return atomicfile.Write(f.imageFile(), data, 0o600)
	}
	return fmt.Errorf("%w %s is %.19s, but was %.19s when this node saw it first: give the new one a tag of its own, or remove %s to accept it",
		ErrNoImage, ref, id, known[ref], f.imageFile())
}

// watchImages tells watchers which images are there and verified: those of the
// configuration, and those that were seen before, which older jobs ask for.
func (f *Fence) watchImages(ctx context.Context) error {
	for {
		if images, err := f.verified(ctx); err == nil {
			f.table.announce(images)
		} else if ctx.Err() == nil {
			f.cfg.Logger.Warn("looking for the images that apps run in", "error", err)
		}
		if err := sleep(ctx, f.cfg.Timing.Images); err != nil {
			return err
		}
	}
}

// verified returns the references of the images that are there and what they
// were, in order. An error means that it could not be found out.
func (f *Fence) verified(ctx context.Context) ([]string, error) {
	f.mu.Lock()
	known, err := f.knownImages()
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	refs := slices.Collect(maps.Keys(known))
	if f.cfg.Images != nil {
		refs = append(refs, f.cfg.Images()...)
	}
	slices.Sort(refs)
	out := []string{}
	for _, ref := range slices.Compact(refs) {
		err := f.verify(ctx, ref)
		switch {
		case err == nil:
			out = append(out, ref)
		case !errors.Is(err, ErrNoImage):
			return nil, err
		}
	}
	return out, nil
}

func (f *Fence) imageFile() string { return filepath.Join(f.cfg.Dir, "images.json") }

func (f *Fence) knownImages() (map[string]string, error) {
	known := map[string]string{}
	data, err := os.ReadFile(f.imageFile())
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &known); err != nil {
		return nil, fmt.Errorf("%s cannot be read, remove it: %w", f.imageFile(), err)
	}
	return known, nil
}

// pruneContainers removes those of ours that ended long ago and that Nomad
// left behind.
func (f *Fence) pruneContainers(ctx context.Context, endedBefore time.Time) error {
	list, err := f.containers(ctx)
	if err != nil {
		return err
	}
	return f.removeEnded(ctx, list, endedBefore)
}

// pruneEnded removes instances of apps that ended and that Nomad left behind.
func (f *Fence) pruneEnded(ctx context.Context, endedBefore time.Time) error {
	list, err := f.containers(ctx, "exited", "dead")
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(c Container) bool { return c.Kind != instance.KindApp })
	return f.removeEnded(ctx, list, endedBefore)
}

func (f *Fence) removeEnded(ctx context.Context, list []Container, before time.Time) error {
	var errs []error
	for _, c := range list {
		if c.running || latest(c.created, c.finished).After(before) {
			continue
		}
		if err := f.cfg.Engine.remove(ctx, c.ID); err != nil && !errors.Is(err, errGone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// remove deletes a container that does not run.
func (e *Engine) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*callWithin)
	defer cancel()
	return e.containerError("remove", e.client.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: true}))
}
