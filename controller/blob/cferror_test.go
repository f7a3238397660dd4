package blob

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stackato/stackato/controller/cf"
)

func TestAsCF(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   int
		title  string
		detail string
	}{
		{invalid("../a", "the path leaves"), 400, 160001, "CF-AppBitsUploadInvalid", `The app upload is invalid: "../a": the path leaves`},
		{fmt.Errorf("x: %w", &InvalidError{Problem: BadMode, Reason: "r"}), 400, 160003, "CF-AppResourcesFileModeInvalid", "The resource file mode is invalid: r"},
		{&InvalidError{Problem: BadPath, Path: "a", Reason: "r"}, 400, 160004, "CF-AppResourcesFilePathInvalid", `The resource file path is invalid: "a": r`},
		{fmt.Errorf("more than 5 bytes: %w", ErrTooLarge), 400, 150001, "CF-AppPackageInvalid", "more than 5 bytes"},
		{fmt.Errorf("x: %w", ErrFull), 502, 150006, "CF-BlobstoreUnavailable", "disk for packages and droplets is full"},
		{fmt.Errorf("x: %w", ErrQuorum), 502, 150006, "CF-BlobstoreUnavailable", "Try again"},
	}
	for _, tt := range tests {
		var got *cf.Error
		if !errors.As(AsCF(tt.err), &got) {
			t.Errorf("%v gives no cf.Error", tt.err)
			continue
		}
		if got.Status != tt.status || got.Code != tt.code || got.Title != tt.title || !strings.Contains(got.Detail, tt.detail) {
			t.Errorf("%v gives %+v", tt.err, got)
		}
	}
	if got := AsCF(io.ErrClosedPipe); !errors.Is(got, io.ErrClosedPipe) {
		t.Errorf("another error became %v", got)
	}
}
