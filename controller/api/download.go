package api

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
)

// sendBlob writes an attachment. An error after the first byte leaves a body
// that is shorter than its Content-Length, which clients notice.
func sendBlob(w http.ResponseWriter, content io.Reader, size int64, contentType, name string) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	w.WriteHeader(http.StatusOK)
	n, err := io.Copy(w, content)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, size, err)
	}
	return nil
}
