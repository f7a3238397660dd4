package state

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

var packageFiles = newTable[cf.PackageFiles]("cf_package_files",
	unique("id", "SpaceGUID", "Digest"), by("space", "SpaceGUID"),
	&memdb.IndexSchema{Name: "sum", AllowMissing: true, Indexer: fileSums{}})

// PackageFilesBySum returns the packages of a space that hold a file with the
// SHA-1.
func (v *View) PackageFilesBySum(spaceGUID, sum string) []cf.PackageFiles {
	return packageFiles.list(v, "sum", spaceGUID, sum)
}

// PackageFiles returns what is known of every package's files.
func (v *View) PackageFiles() []cf.PackageFiles { return packageFiles.list(v, "id") }

// maxPackageFiles bounds the rows of one space; the oldest go.
const maxPackageFiles = 50

var recordPackageFiles = newCommand("cf.package_files.record", 1, func(tx *Tx, in cf.PackageFiles) (none, error) {
	packageFiles.put(tx, in)
	rows := packageFiles.list(tx, "space", in.SpaceGUID)
	for ; len(rows) > maxPackageFiles; rows = packageFiles.list(tx, "space", in.SpaceGUID) {
		oldest := rows[0]
		for _, r := range rows {
			if r.CreatedAt.Before(oldest.CreatedAt) {
				oldest = r
			}
		}
		packageFiles.remove(tx, "id", oldest.SpaceGUID, oldest.Digest)
	}
	return none{}, nil
})

// RecordPackageFiles remembers the large files of a package.
func (s *Store) RecordPackageFiles(ctx context.Context, f cf.PackageFiles) error {
	_, err := recordPackageFiles.do(ctx, s, f)
	return err
}

// PackageFilesKey names one row of package files.
type PackageFilesKey struct {
	SpaceGUID string `json:"space_guid"`
	Digest    string `json:"digest"`
}

var forgetPackageFiles = newCommand("cf.package_files.forget", 1, func(tx *Tx, in []PackageFilesKey) (none, error) {
	for _, k := range in {
		packageFiles.remove(tx, "id", k.SpaceGUID, k.Digest)
	}
	return none{}, nil
})

// ForgetPackageFiles removes rows whose package or space is gone.
func (s *Store) ForgetPackageFiles(ctx context.Context, keys []PackageFilesKey) error {
	_, err := forgetPackageFiles.do(ctx, s, keys)
	return err
}

// fileSums indexes package files by space and SHA-1.
type fileSums struct{}

// FromObject implements memdb.MultiIndexer.
func (fileSums) FromObject(raw any) (bool, [][]byte, error) {
	row, ok := raw.(*cf.PackageFiles)
	if !ok {
		return false, nil, fmt.Errorf("row is a %T", raw)
	}
	var keys [][]byte
	for _, f := range row.Files {
		keys = append(keys, sumKey(row.SpaceGUID, f.SHA1))
	}
	return len(keys) > 0, keys, nil
}

// FromArgs implements memdb.Indexer; the arguments are a space and a SHA-1.
func (fileSums) FromArgs(args ...any) ([]byte, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("want a space and a sum, have %d arguments", len(args))
	}
	return sumKey(fmt.Sprint(args[0]), fmt.Sprint(args[1])), nil
}

func sumKey(space, sum string) []byte { return []byte(space + "\x00" + sum + "\x00") }
