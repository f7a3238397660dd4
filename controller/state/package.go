package state

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
)

var packages = newTable[cf.Package]("cf_packages", byGUID(), by("app", "AppGUID"))

// Package returns one package.
func (v *View) Package(guid string) (cf.Package, bool) { return packages.get(v, "id", guid) }

// Packages returns all packages, in no useful order.
func (v *View) Packages() []cf.Package { return packages.list(v, "id") }

// PackagesOfApp returns the packages of an app, the oldest first.
func (v *View) PackagesOfApp(appGUID string) []cf.Package { return packagesOfApp(v, appGUID) }

func packagesOfApp(r reader, appGUID string) []cf.Package {
	out := packages.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Package) int { return older(a.Resource, b.Resource) })
	return out
}

// older orders resources by age.
func older(a, b cf.Resource) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.GUID, b.GUID))
}

var createPackage = newAudited("cf.package.create", 1, func(tx *Tx, in cf.Package) (none, error) {
	if _, ok := apps.get(tx, "id", in.AppGUID); !ok {
		return none{}, cf.ErrUnprocessable.With("App is invalid. Ensure it exists and you have access to it.")
	}
	packages.put(tx, in)
	return none{}, nil
})

// CreatePackage adds a package to an app.
func (s *Store) CreatePackage(ctx context.Context, p cf.Package) error {
	_, err := createPackage.do(ctx, s, p)
	return err
}

// PackageUpdate changes what is not nil.
type PackageUpdate struct {
	GUID     string           `json:"guid"`
	State    *string          `json:"state,omitempty"`
	Error    *string          `json:"error,omitempty"`
	Blob     *instance.Blob   `json:"blob,omitempty"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	// From, if not "", is the state that the package must have now.
	From string    `json:"from,omitempty"`
	At   time.Time `json:"at"`
}

// packagesKept is how many ready packages an app keeps, as in Cloud Foundry.
const packagesKept = 5

var updatePackage = newAudited("cf.package.update", 1, func(tx *Tx, in PackageUpdate) (cf.Package, error) {
	p, ok := packages.get(tx, "id", in.GUID)
	if !ok {
		return p, cf.ErrNotFound.With("Package not found")
	}
	if in.From != "" && p.State != in.From {
		return p, cf.ErrBitsInvalid.With("Bits may be uploaded only once. Create a new package to upload different bits.")
	}
	set(&p.State, in.State)
	set(&p.Error, in.Error)
	set(&p.Blob, in.Blob)
	p.Metadata = p.Patched(in.Metadata)
	p.UpdatedAt = in.At
	packages.put(tx, p)
	if in.State != nil && *in.State == cf.PackageReady {
		expirePackages(tx, p.AppGUID)
	}
	return p, nil
})

// UpdatePackage changes a package and returns it.
func (s *Store) UpdatePackage(ctx context.Context, u PackageUpdate) (cf.Package, error) {
	return updatePackage.do(ctx, s, u)
}

// expirePackages removes packages of an app that are older than the ones
// kept, unless a build is at work on them.
func expirePackages(tx *Tx, appGUID string) {
	staging := map[string]bool{}
	for b := range builds.each(tx, "app", appGUID) {
		if b.State == cf.BuildStaging {
			staging[b.PackageGUID] = true
		}
	}
	kept := 0
	for _, p := range slices.Backward(packagesOfApp(tx, appGUID)) {
		if p.State != cf.PackageReady && p.State != cf.PackageFailed {
			continue
		}
		if kept++; kept > packagesKept && !staging[p.GUID] {
			packages.remove(tx, "id", p.GUID)
		}
	}
}

var deletePackage = newAudited("cf.package.delete", 1, func(tx *Tx, in Target) (none, error) {
	if packages.remove(tx, "id", in.GUID) == 0 {
		return none{}, cf.ErrNotFound.With("Package not found")
	}
	return none{}, nil
})

// DeletePackage removes a package; droplets made from it stay.
func (s *Store) DeletePackage(ctx context.Context, t Target) error {
	_, err := deletePackage.do(ctx, s, t)
	return err
}
