package state

import (
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
)

var builds = newTable[cf.Build]("cf_builds", byGUID(), by("app", "AppGUID"), by("state", "State"), by("package", "PackageGUID"))

// Build returns one build.
func (v *View) Build(guid string) (cf.Build, bool) { return builds.get(v, "id", guid) }

// Builds returns all builds, in no useful order.
func (v *View) Builds() []cf.Build { return builds.list(v, "id") }

// BuildsInState returns the builds in a state: BuildStaging is work to do.
func (v *View) BuildsInState(state string) []cf.Build { return builds.list(v, "state", state) }

// BuildsOfApp returns the builds of an app, the oldest first.
func (v *View) BuildsOfApp(appGUID string) []cf.Build { return buildsOfApp(v, appGUID) }

func buildsOfApp(r reader, appGUID string) []cf.Build {
	out := builds.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Build) int { return older(a.Resource, b.Resource) })
	return out
}

// buildsKept is how many builds of an app are remembered.
const buildsKept = 50

var createBuild = newAudited("cf.build.create", 1, func(tx *Tx, in cf.Build) (none, error) {
	p, ok := packages.get(tx, "id", in.PackageGUID)
	if !ok {
		return none{}, cf.ErrUnprocessable.With("Unable to use package. Ensure that the package exists and you have access to it.")
	}
	if p.State != cf.PackageReady {
		return none{}, cf.ErrInvalidRequest.With("Bad request: Cannot stage package whose state is not ready.")
	}
	all := buildsOfApp(tx, p.AppGUID)
	for i, b := range all {
		if b.State == cf.BuildStaging {
			return none{}, cf.ErrUnprocessable.With("Only one build can be STAGING at a time per application.")
		}
		if len(all)-i > buildsKept {
			builds.remove(tx, "id", b.GUID)
		}
	}
	in.AppGUID = p.AppGUID
	builds.put(tx, in)
	return none{}, nil
})

// CreateBuild adds a build of a ready package, in BuildStaging.
func (s *Store) CreateBuild(ctx context.Context, b cf.Build) error {
	_, err := createBuild.do(ctx, s, b)
	return err
}

// BuildFinish ends a build: with an Error, or with a Droplet.
type BuildFinish struct {
	GUID string `json:"guid"`
	// Error is "<code word> - <sentence>".
	Error string `json:"error,omitempty"`
	// Droplet has GUID, times, Blob, Stack, Buildpacks, ProcessTypes and
	// Sidecars; the rest is filled in.
	Droplet *cf.Droplet   `json:"droplet,omitempty"`
	Cache   instance.Blob `json:"cache,omitzero"` // for the next build
	At      time.Time     `json:"at"`
}

var finishBuild = newCommand("cf.build.finish", 1, func(tx *Tx, in BuildFinish) (cf.Build, error) {
	b, ok := builds.get(tx, "id", in.GUID)
	if !ok {
		return b, cf.ErrNotFound.With("Build not found")
	}
	if b.State != cf.BuildStaging {
		return b, cf.ErrUnprocessable.With("The build has ended already.")
	}
	b.UpdatedAt = in.At
	b.TokenHash = ""
	if in.Droplet == nil {
		b.State, b.Error = cf.BuildFailed, in.Error
		builds.put(tx, b)
		return b, nil
	}
	d := *in.Droplet
	d.AppGUID, d.PackageGUID, d.BuildGUID, d.State = b.AppGUID, b.PackageGUID, b.GUID, cf.DropletStaged
	droplets.put(tx, d)
	b.State, b.DropletGUID = cf.BuildStaged, d.GUID
	builds.put(tx, b)
	if a, ok := apps.get(tx, "id", b.AppGUID); ok && in.Cache.Digest != "" {
		a.BuildCache = in.Cache
		apps.put(tx, a)
	}
	expireDroplets(tx, b.AppGUID, d.GUID)
	return b, nil
})

// FinishBuild ends a build once: the second call is refused. It returns the
// build.
func (s *Store) FinishBuild(ctx context.Context, f BuildFinish) (cf.Build, error) {
	return finishBuild.do(ctx, s, f)
}

// BuildToken gives a build the hash of its token.
type BuildToken struct {
	GUID string `json:"guid"`
	Hash string `json:"hash"`
}

var setBuildToken = newCommand("cf.build.token", 1, func(tx *Tx, in BuildToken) (none, error) {
	b, ok := builds.get(tx, "id", in.GUID)
	if !ok || b.State != cf.BuildStaging {
		return none{}, cf.ErrNotFound.With("Build not found")
	}
	b.TokenHash, b.Uploaded = in.Hash, nil
	builds.put(tx, b)
	return none{}, nil
})

// SetBuildToken lets a stager work for a build that is staging; an earlier
// token ends.
func (s *Store) SetBuildToken(ctx context.Context, t BuildToken) error {
	_, err := setBuildToken.do(ctx, s, t)
	return err
}

// maxBuildUploads bounds what one build stores; uploads are tried again.
const maxBuildUploads = 16

// BuildUpload notes a blob that a build has stored with its token.
type BuildUpload struct {
	GUID string        `json:"guid"`
	Hash string        `json:"hash"` // of the token
	Blob instance.Blob `json:"blob"`
}

var addBuildUpload = newCommand("cf.build.upload", 1, func(tx *Tx, in BuildUpload) (none, error) {
	b, ok := builds.get(tx, "id", in.GUID)
	if !ok || b.State != cf.BuildStaging || b.TokenHash != in.Hash {
		return none{}, cf.ErrNotFound.With("Build not found")
	}
	if slices.Contains(b.Uploaded, in.Blob) {
		return none{}, nil
	}
	if len(b.Uploaded) == maxBuildUploads {
		return none{}, cf.ErrUnprocessable.With("A build may store %d blobs, this one has done so", maxBuildUploads)
	}
	b.Uploaded = append(slices.Clone(b.Uploaded), in.Blob)
	builds.put(tx, b)
	return none{}, nil
})

// AddBuildUpload notes a blob that a build that is staging has stored.
func (s *Store) AddBuildUpload(ctx context.Context, u BuildUpload) error {
	_, err := addBuildUpload.do(ctx, s, u)
	return err
}

// BuildUpdate changes a build's metadata.
type BuildUpdate struct {
	GUID     string           `json:"guid"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	At       time.Time        `json:"at"`
}

var updateBuild = newCommand("cf.build.update", 1, func(tx *Tx, in BuildUpdate) (cf.Build, error) {
	b, ok := builds.get(tx, "id", in.GUID)
	if !ok {
		return b, cf.ErrNotFound.With("Build not found")
	}
	b.Metadata = b.Patched(in.Metadata)
	b.UpdatedAt = in.At
	builds.put(tx, b)
	return b, nil
})

// UpdateBuild changes a build's metadata and returns it.
func (s *Store) UpdateBuild(ctx context.Context, u BuildUpdate) (cf.Build, error) {
	return updateBuild.do(ctx, s, u)
}
