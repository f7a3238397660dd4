package blob

import (
	"errors"
	"net/http"

	"github.com/stackato/stackato/controller/cf"
)

// Codes and statuses are those of Cloud Foundry's Cloud Controller
// (errors/v2.yml).
var (
	errPackage  = &cf.Error{Status: http.StatusBadRequest, Code: 150001, Title: "CF-AppPackageInvalid"}
	errStore    = &cf.Error{Status: http.StatusBadGateway, Code: 150006, Title: "CF-BlobstoreUnavailable"}
	errUpload   = &cf.Error{Status: http.StatusBadRequest, Code: 160001, Title: "CF-AppBitsUploadInvalid"}
	errFileMode = &cf.Error{Status: http.StatusBadRequest, Code: 160003, Title: "CF-AppResourcesFileModeInvalid"}
	errFilePath = &cf.Error{Status: http.StatusBadRequest, Code: 160004, Title: "CF-AppResourcesFilePathInvalid"}
)

// AsCF returns the *[cf.Error] that tells a developer of an error of this
// package; any other error comes back as it is.
func AsCF(err error) error {
	var bad *InvalidError
	switch {
	case errors.As(err, &bad):
		switch bad.Problem {
		case BadMode:
			return errFileMode.With("The resource file mode is invalid: %s", bad)
		case BadPath:
			return errFilePath.With("The resource file path is invalid: %s", bad)
		}
		return errUpload.With("The app upload is invalid: %s", bad)
	case errors.Is(err, ErrTooLarge):
		return errPackage.With("The app package is invalid: it is too large, %s", err)
	case errors.Is(err, ErrFull):
		return errStore.With("The disk for packages and droplets is full. Nothing was changed; tell the administrator. (%s)", err)
	case errors.Is(err, ErrQuorum):
		return errStore.With("Too few controllers could store the upload. Try again. (%s)", err)
	}
	return err
}
