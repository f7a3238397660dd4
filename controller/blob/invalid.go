package blob

import "fmt"

// Problem says which rule of uploads was broken; Cloud Foundry has an error
// code for each.
type Problem int

// The problems.
const (
	BadUpload Problem = iota // the request or the archive: CF-AppBitsUploadInvalid
	BadMode                  // a matched resource's mode: CF-AppResourcesFileModeInvalid
	BadPath                  // a matched resource's path: CF-AppResourcesFilePathInvalid
)

// InvalidError says what is wrong with an upload, in words for the developer
// who sent it. Nothing of the upload was kept.
type InvalidError struct {
	Problem Problem
	Path    string // of the entry or resource, "" if it is the upload as a whole
	Reason  string
}

func (e *InvalidError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s: %s", shown(e.Path), e.Reason)
}

// shown is a path that may be hostile, made fit for a message.
func shown(p string) string {
	if len(p) > 200 {
		p = p[:200] + "…"
	}
	return fmt.Sprintf("%q", p)
}

func invalid(path, format string, args ...any) error {
	return &InvalidError{Path: path, Reason: fmt.Sprintf(format, args...)}
}
