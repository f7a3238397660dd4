package api

import (
	"archive/zip"
	"net/http"
	"path"
	"strings"

	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// errBuildpackZip is what cf calls a bad archive (job error 390013).
var errBuildpackZip = &cf.Error{
	Status: http.StatusUnprocessableEntity, Code: 390013, Title: "CF-BuildpackZipError",
	Detail: "Buildpack zip error: the file is no zip archive",
}

func uploadBuildpack(r *request) (response, error) {
	b, err := r.writableBuildpack()
	if err != nil {
		return response{}, err
	}
	if b.Locked {
		return response{}, cf.ErrUnprocessable.With("Buildpack is locked")
	}
	up, err := blob.ReadUpload(r.Context(), r.api.BlobStore, r.Request, r.api.Limits.PackFileSize)
	if err != nil {
		return response{}, blob.AsCF(err)
	}
	defer up.Discard()
	if up.Bits == nil {
		return response{}, cf.ErrUnprocessable.With("Upload must include bits: a buildpack must be uploaded as a zip file named 'bits'")
	}
	name := path.Base(strings.ReplaceAll(strings.ToValidUTF8(up.Name, "?"), `\`, "/"))
	if !strings.HasSuffix(name, ".zip") {
		return response{}, cf.ErrUnprocessable.With("%s is not a zip", cut(name))
	}
	ctx := r.audit("audit.buildpack.upload", buildpackParty(b), "", "", nil)
	err = checkBuildpackZip(up.Bits)
	if err == nil {
		var bits blob.Blob
		if bits, err = r.api.BlobStore.Commit(r.Context(), up.Bits); err != nil {
			return response{}, blob.AsCF(err)
		}
		b, err = r.store().UpdateBuildpack(ctx, state.BuildpackUpdate{GUID: b.GUID, Filename: &name, Bits: &bits, At: r.now})
	}
	resp, jobErr := r.finished("buildpack.upload", b.GUID, err)
	resp.body = presentBuildpack(r, b)
	return resp, jobErr
}

// checkBuildpackZip looks at the list of entries only: the stager unpacks, with
// limits, what it is given.
func checkBuildpackZip(bits *blob.Staged) error {
	z, err := zip.NewReader(bits, bits.Size())
	if err != nil {
		return errBuildpackZip
	}
	for _, f := range z.File {
		if name := strings.TrimPrefix(f.Name, "./"); name == "bin/" || strings.Contains("/"+name, "/bin/") {
			return nil
		}
	}
	return errBuildpackZip.With("Buildpack zip error: the archive has no folder bin with detect, supply, finalize, compile or release")
}
