package state

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
)

var buildpacks = newTable[cf.Buildpack]("cf_buildpacks", byGUID(), by("name", "Name"))

// Buildpack returns one buildpack.
func (v *View) Buildpack(guid string) (cf.Buildpack, bool) { return buildpacks.get(v, "id", guid) }

// BuildpacksByName returns the buildpacks of a name, one for each stack, in
// their order.
func (v *View) BuildpacksByName(name string) []cf.Buildpack {
	return ordered(buildpacks.list(v, "name", name))
}

// Buildpacks returns all buildpacks in their order.
func (v *View) Buildpacks() []cf.Buildpack { return ordered(buildpacks.list(v, "id")) }

// BuildpackBlobs returns the blobs that buildpacks name.
func (v *View) BuildpackBlobs() map[string]instance.Blob {
	out := map[string]instance.Blob{}
	for b := range buildpacks.each(v, "id") {
		if b.Bits.Digest != "" {
			out[b.Bits.Digest] = b.Bits
		}
	}
	return out
}

func ordered(list []cf.Buildpack) []cf.Buildpack {
	slices.SortFunc(list, func(a, b cf.Buildpack) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.GUID, b.GUID))
	})
	return list
}

// place puts a buildpack at a position and moves the others: positions are 1,
// 2, 3, … at all times.
func place(tx *Tx, b cf.Buildpack, position int) cf.Buildpack {
	list := slices.DeleteFunc(ordered(buildpacks.list(tx, "id")), func(o cf.Buildpack) bool { return o.GUID == b.GUID })
	at := min(max(position, 1), len(list)+1) - 1
	list = slices.Insert(list, at, b)
	for i, o := range list {
		if o.Position != i+1 || o.GUID == b.GUID {
			o.Position = i + 1
			buildpacks.put(tx, o)
		}
	}
	b.Position = at + 1
	return b
}

func checkBuildpackName(tx *Tx, b cf.Buildpack) error {
	if b.Stack != "" && !stacks.has(tx, "name", b.Stack) {
		return cf.ErrUnprocessable.With("Stack '%s' does not exist", b.Stack)
	}
	for o := range buildpacks.each(tx, "name", b.Name) {
		if o.GUID == b.GUID || o.Stack != b.Stack {
			continue
		}
		if b.Stack == "" {
			return cf.ErrUnprocessable.With("Buildpack with name '%s' and an unassigned stack already exists", b.Name)
		}
		return cf.ErrUnprocessable.With("Buildpack with name '%s' and stack '%s' already exists", b.Name, b.Stack)
	}
	return nil
}

var createBuildpack = newAudited("cf.buildpack.create", 1, func(tx *Tx, in cf.Buildpack) (cf.Buildpack, error) {
	if err := checkBuildpackName(tx, in); err != nil {
		return in, err
	}
	return place(tx, in, in.Position), nil
})

// CreateBuildpack adds a buildpack at its position, or the nearest there is,
// and returns it.
func (s *Store) CreateBuildpack(ctx context.Context, b cf.Buildpack) (cf.Buildpack, error) {
	return createBuildpack.do(ctx, s, b)
}

// BuildpackUpdate changes what is not nil.
type BuildpackUpdate struct {
	GUID     string           `json:"guid"`
	Name     *string          `json:"name,omitempty"`
	Stack    *string          `json:"stack,omitempty"`
	Position *int             `json:"position,omitempty"`
	Enabled  *bool            `json:"enabled,omitempty"`
	Locked   *bool            `json:"locked,omitempty"`
	Filename *string          `json:"filename,omitempty"`
	Bits     *instance.Blob   `json:"bits,omitempty"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	At       time.Time        `json:"at"`
}

var updateBuildpack = newAudited("cf.buildpack.update", 1, func(tx *Tx, in BuildpackUpdate) (cf.Buildpack, error) {
	b, ok := buildpacks.get(tx, "id", in.GUID)
	if !ok {
		return b, cf.ErrNotFound.With("Buildpack not found")
	}
	if in.Stack != nil && b.Stack != "" && *in.Stack != b.Stack {
		return b, cf.ErrUnprocessable.With("Buildpack stack can not be changed")
	}
	if in.Bits != nil && b.Locked {
		return b, cf.ErrUnprocessable.With("Buildpack is locked")
	}
	set(&b.Name, in.Name)
	set(&b.Stack, in.Stack)
	set(&b.Enabled, in.Enabled)
	set(&b.Locked, in.Locked)
	set(&b.Filename, in.Filename)
	set(&b.Bits, in.Bits)
	if err := checkBuildpackName(tx, b); err != nil {
		return b, err
	}
	b.Metadata, b.UpdatedAt = b.Patched(in.Metadata), in.At
	return place(tx, b, deref(in.Position, b.Position)), nil
})

func deref[T any](p *T, d T) T {
	if p == nil {
		return d
	}
	return *p
}

// UpdateBuildpack changes a buildpack and returns it.
func (s *Store) UpdateBuildpack(ctx context.Context, u BuildpackUpdate) (cf.Buildpack, error) {
	return updateBuildpack.do(ctx, s, u)
}

var deleteBuildpack = newAudited("cf.buildpack.delete", 1, func(tx *Tx, in Target) (none, error) {
	if buildpacks.remove(tx, "id", in.GUID) == 0 {
		return none{}, cf.ErrNotFound.With("Buildpack not found")
	}
	for i, b := range ordered(buildpacks.list(tx, "id")) {
		b.Position = i + 1
		buildpacks.put(tx, b)
	}
	return none{}, nil
})

// DeleteBuildpack removes a buildpack. Apps keep their droplets.
func (s *Store) DeleteBuildpack(ctx context.Context, t Target) error {
	_, err := deleteBuildpack.do(ctx, s, t)
	return err
}
