package cf

import "time"

// PackageFiles are the large files of a package that was uploaded to a space.
// They need not be uploaded to that space again as long as the package's zip
// is kept.
type PackageFiles struct {
	SpaceGUID string        `json:"space_guid"`
	Digest    string        `json:"digest"` // of the zip
	Files     []PackageFile `json:"files"`
	CreatedAt time.Time     `json:"created_at"`
}

// PackageFile is one file in a package's zip.
type PackageFile struct {
	SHA1 string `json:"sha1"` // lower-case hexadecimal
	Size int64  `json:"size"` // bytes
	Path string `json:"path"` // as the zip writes it
}
