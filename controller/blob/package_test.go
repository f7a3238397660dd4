package blob

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/state"
)

func sha1Of(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func newIndex() StateIndex { return StateIndex{state.NewMemory()} }

func newPackages(t *testing.T, l Limits) (*Packages, *Dir) {
	t.Helper()
	d := newDir(t)
	return NewPackages(d, newIndex(), l), d
}

// request is a multipart upload.
func request(t testing.TB, resources string, bits []byte) *http.Request {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	if resources != "" {
		if err := w.WriteField("resources", resources); err != nil {
			t.Fatal(err)
		}
	}
	if bits != nil {
		part, err := w.CreateFormFile("bits", "package.zip")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(bits)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	return r
}

func add(t *testing.T, p *Packages, space, resources string, bits []byte) (Blob, error) {
	t.Helper()
	up, err := ReadUpload(t.Context(), p.store, request(t, resources, bits), p.limits.Size)
	if err != nil {
		return Blob{}, err
	}
	return p.Add(t.Context(), []string{space}, up)
}

// contents unpacks a stored zip.
func contents(t *testing.T, s Store, digest string) map[string]string {
	t.Helper()
	data, err := read(t, s, digest)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name] = fmt.Sprintf("%v %s", f.Mode(), content)
	}
	return out
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func resource(path, content, mode string) Resource {
	return Resource{Path: path, Size: int64(len(content)), Mode: mode, Checksum: Checksum{sha1Of(content)}}
}

// TestMatchedFilesAreReused pushes an app twice: the second time only what has
// changed is sent.
func TestMatchedFilesAreReused(t *testing.T) {
	p, d := newPackages(t, Limits{})
	jar, asset := string(random(200<<10)), strings.Repeat("css ", 50<<10)
	first := makeZip(t, entry{name: "lib/app.jar", content: jar}, entry{name: "site.css", content: asset}, entry{name: "index.html", content: "one"})
	if b, err := add(t, p, "space-1", "[]", first); err != nil || b != name(first) {
		t.Fatalf("first push: %v, %v: an upload without matches is kept as it is", b, err)
	}

	want := []Resource{resource("lib/app.jar", jar, "644"), resource("site.css", asset, "755"), resource("index.html", "two", "644"), resource("new", jar+"x", "")}
	known, err := p.Match(t.Context(), []string{"space-1"}, want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:2], known); diff != "" {
		t.Fatal(diff)
	}
	elsewhere, err := p.Match(t.Context(), []string{"space-2"}, want)
	if err != nil || len(elsewhere) != 0 {
		t.Fatalf("another space knows %v, %v", elsewhere, err)
	}

	both, err := p.Match(t.Context(), []string{"space-2", "space-1"}, want)
	if err != nil || len(both) != 2 {
		t.Fatalf("who develops in both knows %v, %v", both, err)
	}

	known[0].Path = "moved/app.jar"
	b, err := add(t, p, "space-1", toJSON(t, known), makeZip(t, entry{name: "index.html", content: "two"}))
	if err != nil {
		t.Fatal(err)
	}
	got := contents(t, d, b.Digest)
	if diff := cmp.Diff(map[string]string{"moved/app.jar": "-rw-r--r-- " + jar, "site.css": "-rwxr-xr-x " + asset, "index.html": "-rw-r--r-- two"}, got); diff != "" {
		t.Error(diff)
	}

	// All matched: no file at all is sent.
	if _, err := add(t, p, "space-1", toJSON(t, known[:1]), nil); err != nil {
		t.Errorf("resources alone: %v", err)
	}
	// The older package goes; the file is still known from the newer one.
	if _, err := Sweep(t.Context(), d, func(digest string) bool { return digest == b.Digest }, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := add(t, p, "space-2", toJSON(t, known), nil); err == nil {
		t.Error("another space got the file")
	}
}

func TestMatchForgetsSweptPackages(t *testing.T) {
	p, d := newPackages(t, Limits{})
	jar := string(random(100 << 10))
	if _, err := add(t, p, "s", "", makeZip(t, entry{name: "a.jar", content: jar})); err != nil {
		t.Fatal(err)
	}
	want := []Resource{resource("a.jar", jar, "644")}
	if known, err := p.Match(t.Context(), []string{"s"}, want); err != nil || len(known) != 1 {
		t.Fatalf("before: %v, %v", known, err)
	}
	if _, err := Sweep(t.Context(), d, func(string) bool { return false }, -1); err != nil {
		t.Fatal(err)
	}
	if known, err := p.Match(t.Context(), []string{"s"}, want); err != nil || len(known) != 0 {
		t.Fatalf("after: %v, %v", known, err)
	}
	_, err := add(t, p, "s", toJSON(t, want), makeZip(t, entry{name: "b"}))
	checkInvalid(t, err, "push again")
	assertEmpty(t, d)
}

func TestRefusedUploadsLeaveNothing(t *testing.T) {
	jar := string(random(100 << 10))
	matched := func(change func(*Resource)) string {
		r := resource("lib/a.jar", jar, "644")
		change(&r)
		return toJSON(t, []Resource{r})
	}
	small := makeZip(t, entry{name: "a", content: "x"})
	tests := []struct {
		name      string
		resources string
		bits      []byte
		want      string
		problem   Problem
	}{
		{"nothing", "", nil, "neither bits nor resources", BadUpload},
		{"empty list alone", "[]", nil, "neither bits nor resources", BadUpload},
		{"no zip", "[]", []byte("no zip"), "no zip archive", BadUpload},
		{"path escape", "", makeZip(t, entry{name: "../a"}), "leaves", BadUpload},
		{"resources no JSON", "{", small, "no JSON list", BadUpload},
		{"resources no list", `{"a":1}`, small, "no JSON list", BadUpload},
		{"unknown resource", matched(func(r *Resource) { r.Checksum.Value = sha1Of("?") }), small, "push again", BadUpload},
		{"wrong size", matched(func(r *Resource) { r.Size++ }), small, "push again", BadUpload},
		{"mode no octal", matched(func(r *Resource) { r.Mode = "9" }), small, "file mode", BadMode},
		{"mode unreadable", matched(func(r *Resource) { r.Mode = "044" }), small, "file mode", BadMode},
		{"resource escapes", matched(func(r *Resource) { r.Path = "../a" }), small, "leaves", BadPath},
		{"resource absolute", matched(func(r *Resource) { r.Path = "/a" }), small, "absolute", BadPath},
		{"resource without path", matched(func(r *Resource) { r.Path = "" }), small, "no name", BadPath},
		{"sent and matched", matched(func(r *Resource) { r.Path = "a" }), small, "occurs twice", BadUpload},
		{"below a sent file", matched(func(r *Resource) { r.Path = "a/b" }), small, "not a directory", BadUpload},
		{"too large when complete", matched(func(*Resource) {}), makeZip(t, entry{name: "b", content: string(random(150 << 10)), method: store}), "more than 204800 bytes", BadUpload},
		{"too large alone", "", makeZip(t, entry{name: "b", content: string(random(250 << 10)), method: store}), "more than 204800 bytes", BadUpload},
	}
	p, d := newPackages(t, Limits{Size: 200 << 10})
	base, err := add(t, p, "s", "", makeZip(t, entry{name: "old.jar", content: jar}))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := add(t, p, "s", tt.resources, tt.bits)
			checkInvalid(t, err, tt.want)
			var bad *InvalidError
			if errors.As(err, &bad) && bad.Problem != tt.problem {
				t.Errorf("problem %d, want %d", bad.Problem, tt.problem)
			}
			if n := staged(t, d); n != 0 {
				t.Errorf("%d staged files are left", n)
			}
			if err := d.List(t.Context(), func(i Info) bool {
				if i.Digest != base.Digest {
					t.Errorf("%v is left", i.Blob)
				}
				return true
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	d := newDir(t)
	form := func(body string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.ReplaceAll(body, "\n", "\r\n")))
		r.Header.Set("Content-Type", `multipart/form-data; boundary=X`)
		return r
	}
	plain := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
	limited := request(t, "", random(1<<20))
	limited.Body = http.MaxBytesReader(httptest.NewRecorder(), limited.Body, 1000)
	tests := []struct {
		name string
		r    *http.Request
		want string
	}{
		{"no multipart", plain, "not multipart"},
		{"cut", form("--X\nContent-Disposition: form-data; name=\"bits\"; filename=\"a\"\n\nabc"), "too early"},
		{"nothing", form(""), "too early"},
		{"two files", form("--X\nContent-Disposition: form-data; name=\"bits\"\n\na\n--X\nContent-Disposition: form-data; name=\"bits\"\n\na\n--X--\n"), "two files"},
		{"two lists", form("--X\nContent-Disposition: form-data; name=\"resources\"\n\n[{}]\n--X\nContent-Disposition: form-data; name=\"resources\"\n\n[]\n--X--\n"), "two fields"},
		{"many parts", form(strings.Repeat("--X\nContent-Disposition: form-data; name=\"a\"\n\na\n", 101) + "--X--\n"), "more than 100 parts"},
		{"long field", form("--X\nContent-Disposition: form-data; name=\"a\"\n\n" + strings.Repeat("a", maxOtherPart+1) + "\n--X--\n"), "more than 1048576 bytes"},
		{"limited body", limited, "larger than the limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadUpload(t.Context(), d, tt.r, 10<<20)
			checkInvalid(t, err, tt.want)
			assertEmpty(t, d)
		})
	}
}

// TestAnnouncedTooLarge: what says that it is too large is not read at all.
func TestAnnouncedTooLarge(t *testing.T) {
	d := newDir(t)
	r := httptest.NewRequest(http.MethodPost, "/", failing{errors.New("read")})
	r.Header.Set("Content-Type", `multipart/form-data; boundary=X`)
	r.ContentLength = 2 << 30
	if _, err := ReadUpload(t.Context(), d, r, 1<<30); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

// TestPrune: the index forgets packages and spaces that are gone.
func TestPrune(t *testing.T) {
	d, x := newDir(t), newIndex()
	p := NewPackages(d, x, Limits{})
	jar := string(random(100 << 10))
	kept := makeZip(t, entry{name: "a.jar", content: jar})
	for space, bits := range map[string][]byte{"there": kept, "gone": kept, "other": makeZip(t, entry{name: "b.jar", content: jar + "b"})} {
		if _, err := add(t, p, space, "", bits); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Sweep(t.Context(), d, func(digest string) bool { return digest == name(kept).Digest }, -1); err != nil {
		t.Fatal(err)
	}
	if err := x.Prune(t.Context(), d, func(space string) bool { return space != "gone" }); err != nil {
		t.Fatal(err)
	}
	rows := x.State.Local().PackageFiles()
	if len(rows) != 1 || rows[0].SpaceGUID != "there" {
		t.Errorf("left: %v", rows)
	}
}

// TestIndexIsBounded: a space's oldest packages are forgotten.
func TestIndexIsBounded(t *testing.T) {
	x := newIndex()
	for i := range 60 {
		content := fmt.Sprint(i)
		if err := x.Record(t.Context(), "s", name([]byte(content)).Digest, []File{{SHA1: sha1Of(content), Size: MatchFrom, Path: "a"}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := x.Find(t.Context(), []string{"s"}, []string{sha1Of("0"), sha1Of("59")})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Place{sha1Of("59"): {Package: name([]byte("59")).Digest, Path: "a", Size: MatchFrom}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzReadUpload(f *testing.F) {
	f.Add([]byte("--X\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"a\"\r\n\r\nabc\r\n--X--\r\n"))
	f.Add([]byte("--X\r\nContent-Disposition: form-data; name=\"resources\"\r\n\r\n[{\"path\":\"a\"}]\r\n--X--\r\n"))
	d, err := OpenDir(DirConfig{Path: f.TempDir(), Reserve: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", `multipart/form-data; boundary=X`)
		up, err := ReadUpload(t.Context(), d, r, 1000)
		var bad *InvalidError
		switch {
		case err == nil:
			up.Discard()
		case !errors.As(err, &bad) && !errors.Is(err, ErrTooLarge):
			t.Errorf("an error of another kind: %v", err)
		}
		if n := staged(t, d); n != 0 {
			t.Errorf("%d staged files are left", n)
		}
	})
}
