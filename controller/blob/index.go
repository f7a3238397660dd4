package blob

import (
	"context"
	"errors"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// StateIndex is the [Index] in the replicated state.
type StateIndex struct{ State *state.Store }

// Find implements [Index]. Of several packages the newest one is named.
func (x StateIndex) Find(ctx context.Context, spaces, sums []string) (map[string]Place, error) {
	view, err := x.State.Read(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]Place{}
	for _, sum := range sums {
		var newest cf.PackageFiles
		for _, space := range spaces {
			for _, row := range view.PackageFilesBySum(space, sum) {
				if !row.CreatedAt.Before(newest.CreatedAt) {
					newest = row
				}
			}
		}
		for _, f := range newest.Files {
			if f.SHA1 == sum {
				out[sum] = Place{Package: newest.Digest, Path: f.Path, Size: f.Size}
				break
			}
		}
	}
	return out, nil
}

// Record implements [Index].
func (x StateIndex) Record(ctx context.Context, space, digest string, files []File) error {
	row := cf.PackageFiles{SpaceGUID: space, Digest: digest, CreatedAt: time.Now().UTC()}
	for _, f := range files {
		row.Files = append(row.Files, cf.PackageFile(f))
	}
	return x.State.RecordPackageFiles(ctx, row)
}

// Prune forgets the files of packages that are no longer kept, and of spaces
// that are gone. The Primary calls it after a sweep.
func (x StateIndex) Prune(ctx context.Context, store Store, spaceExists func(guid string) bool) error {
	view, err := x.State.Read(ctx)
	if err != nil {
		return err
	}
	var gone []state.PackageFilesKey
	for _, row := range view.PackageFiles() {
		if spaceExists(row.SpaceGUID) {
			_, err := store.Stat(ctx, row.Digest)
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		gone = append(gone, state.PackageFilesKey{SpaceGUID: row.SpaceGUID, Digest: row.Digest})
	}
	if len(gone) == 0 {
		return nil
	}
	return x.State.ForgetPackageFiles(ctx, gone)
}
