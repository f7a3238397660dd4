package blob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
)

const (
	maxResourcesJSON = 64 << 20 // bytes of the field "resources"
	maxParts         = 100
	maxOtherPart     = 1 << 20 // bytes of a field that nobody reads
)

// Upload is what a multipart request brought: a file "bits", a field
// "resources", or both.
type Upload struct {
	Bits *Staged // nil if there was no file
	// Name is the file's name as the client wrote it. Never use it as a path.
	Name      string
	Resources []Resource
}

// Discard forgets the file if it was not used.
func (u *Upload) Discard() {
	if u.Bits != nil {
		u.Bits.Discard()
	}
}

// ReadUpload reads a multipart request; the file goes to the store's disk while
// it arrives and is not stored yet. The caller ends the upload by Discard, by
// [Packages.Add] or by the store's Commit of Bits. A file of more than limit
// bytes is [ErrTooLarge], a bad request an *[InvalidError].
func ReadUpload(ctx context.Context, store Store, r *http.Request, limit int64) (*Upload, error) {
	if limit >= 0 && r.ContentLength > limit+maxResourcesJSON+maxOtherPart {
		return nil, fmt.Errorf("the request has %d bytes, the file may have %d: %w", r.ContentLength, limit, ErrTooLarge)
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, invalid("", "the request is not multipart/form-data: %v", err)
	}
	up := new(Upload)
	for range maxParts {
		part, err := parts.NextPart()
		if err == io.EOF { //nolint:errorlint // a wrapped one is an early end
			return up, nil
		}
		if err != nil {
			err = requestError(err)
		} else {
			err = up.read(ctx, store, part, limit)
		}
		if err != nil {
			up.Discard()
			return nil, err
		}
	}
	up.Discard()
	return nil, invalid("", "the request has more than %d parts", maxParts)
}

func (u *Upload) read(ctx context.Context, store Store, part *multipart.Part, limit int64) error {
	defer part.Close()
	switch part.FormName() {
	case "bits", "application", "buildpack":
		return u.readBits(ctx, store, part, limit)
	case "resources":
		return u.readResources(part)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(part, maxOtherPart+1))
	switch {
	case err != nil:
		return requestError(err)
	case n > maxOtherPart:
		return invalid("", "the field %s has more than %d bytes", shown(part.FormName()), maxOtherPart)
	}
	return nil
}

func (u *Upload) readBits(ctx context.Context, store Store, part *multipart.Part, limit int64) error {
	if u.Bits != nil {
		return invalid("", "the request has two files")
	}
	st, err := store.Stage(ctx, limit)
	if err != nil {
		return err
	}
	u.Bits, u.Name = st, part.FileName()
	_, err = st.ReadFrom(fromRequest{part})
	return err
}

func (u *Upload) readResources(part io.Reader) error {
	if u.Resources != nil {
		return invalid("", "the request has two fields named resources")
	}
	limited := &io.LimitedReader{R: part, N: maxResourcesJSON + 1}
	data, err := io.ReadAll(limited)
	switch {
	case err != nil:
		return requestError(err)
	case limited.N <= 0:
		return invalid("", "the field resources has more than %d bytes", maxResourcesJSON)
	case strings.TrimSpace(string(data)) == "":
		return nil
	}
	if err := json.Unmarshal(data, &u.Resources); err != nil {
		return invalid("", "the field resources is no JSON list of files: %v", err)
	}
	return nil
}

// fromRequest marks errors of the request, to tell them from those of the disk.
type fromRequest struct{ r io.Reader }

func (f fromRequest) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // as Read's contract says
		err = requestError(err)
	}
	return n, err
}

func requestError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fmt.Errorf("the request: %w", ErrTooLarge)
	}
	return invalid("", "the request ended too early or is malformed: %v", err)
}
