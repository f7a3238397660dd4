package blob

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry is one of a zip that a test makes.
type entry struct {
	name    string
	content string
	mode    fs.FileMode
	method  uint16 // 0 is deflate here
	flags   uint16
}

const store = 99 // of entry.method: do not compress

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: time.Unix(1e9, 0)}
		if e.method == store {
			h.Method = zip.Store
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h.SetMode(e.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
		h.Flags |= e.flags // the directory is written by Close
		if e.method != 0 && e.method != store {
			h.Method = e.method
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func inspect(data []byte, l Limits) ([]File, error) {
	return Inspect(context.Background(), bytes.NewReader(data), int64(len(data)), l)
}

func link(name, target string) entry {
	return entry{name: name, content: target, mode: fs.ModeSymlink | 0o777}
}

func TestInspect(t *testing.T) {
	many := make([]entry, 300)
	for i := range many {
		many[i] = entry{name: fmt.Sprintf("f%03d", i)}
	}
	tests := []struct {
		name    string
		entries []entry
		limits  Limits
		want    string // part of the error, "" for none
	}{
		{"a small app", []entry{{name: "index.html", content: "hi"}, {name: "css/"}, {name: "css/a.css", content: "a"}}, Limits{}, ""},
		{"empty", nil, Limits{}, ""},
		{"dot and folder twice", []entry{{name: "./", mode: fs.ModeDir | 0o755}, {name: "a/", mode: fs.ModeDir | 0o755}, {name: "a/", mode: fs.ModeDir | 0o755}, {name: "./a/b"}}, Limits{}, ""},
		{"backslash in a name", []entry{{name: `unit\x2d.service`, content: "x"}}, Limits{}, ""},
		{"names that are no UTF-8", []entry{{name: "caf\xe9", content: "x"}}, Limits{}, ""},
		{"stored", []entry{{name: "a", content: "x", method: store}}, Limits{}, ""},

		{"parent", []entry{{name: "../evil"}}, Limits{}, `"../evil": the path leaves`},
		{"parent inside", []entry{{name: "a/../../evil"}}, Limits{}, "the path leaves"},
		{"parent that stays", []entry{{name: "a/../b"}}, Limits{}, "the path leaves"},
		{"parent by backslash", []entry{{name: `..\evil`}}, Limits{}, "the path leaves"},
		{"absolute", []entry{{name: "/etc/passwd"}}, Limits{}, "the path is absolute"},
		{"drive", []entry{{name: `C:\x`}}, Limits{}, "the path is absolute"},
		{"zero byte", []entry{{name: "a\x00b"}}, Limits{}, "zero byte"},
		{"long path", []entry{{name: strings.Repeat("a/", 3000) + "b"}}, Limits{}, "more than 4096 bytes"},
		{"long part", []entry{{name: strings.Repeat("a", 300)}}, Limits{}, "more than 255 bytes"},
		{"twice", []entry{{name: "a"}, {name: "./a"}}, Limits{}, "occurs twice"},
		{"file and folder", []entry{{name: "a"}, {name: "a/", mode: fs.ModeDir | 0o755}}, Limits{}, "occurs twice"},
		{"below a file", []entry{{name: "a/b/c"}, {name: "a"}}, Limits{}, `"a" is not a directory`},
		{"below a link", []entry{link("a", "."), {name: "a/b"}}, Limits{}, `"a" is not a directory`},

		{"link inside", []entry{{name: "d/e/f"}, link("d/up", "../d/e"), link("l", "d/up/f"), link("dangling", "nowhere")}, Limits{}, ""},
		{"link loop", []entry{link("a", "b"), link("b", "a")}, Limits{}, ""},
		{"link out", []entry{link("a", "../x")}, Limits{}, "points outside"},
		{"link far out", []entry{link("d/a", "../../x")}, Limits{}, "points outside"},
		{"link absolute", []entry{link("a", "/etc/passwd")}, Limits{}, "points outside"},
		{"link out through a link", []entry{link("d/e/l2", "../.."), link("l1", "d/e/l2/../x"), {name: "d/e/f"}}, Limits{}, "points outside"},
		{"link out through three", []entry{link("a", "d"), link("d", "e"), {name: "e/f"}, link("g", "a/../../x")}, Limits{}, "points outside"},
		{"link empty", []entry{link("a", "")}, Limits{}, "no valid target"},
		{"link long", []entry{link("a", strings.Repeat("a/", 3000))}, Limits{}, "the symbolic link's target"},
		{"device", []entry{{name: "sda", mode: fs.ModeDevice | 0o600}}, Limits{}, "neither a file"},
		{"pipe", []entry{{name: "p", mode: fs.ModeNamedPipe | 0o600}}, Limits{}, "neither a file"},

		{"encrypted", []entry{{name: "a", content: "x", flags: flagEncrypted}}, Limits{}, "encrypted"},
		{"bzip2", []entry{{name: "a", content: "x", method: 12}}, Limits{}, "compression method 12"},
		{"far too many entries", slices.Concat(many, make([]entry, 9000)), Limits{Entries: 299}, "more than 299 entries"},
		{"too many entries", many, Limits{Entries: 299}, "more than 299 entries"},
		{"just enough entries", many, Limits{Entries: 300}, ""},
		{"long directory", many, Limits{Directory: 8 << 10}, "list of entries is too long"},
		{"unpacked too large", []entry{{name: "a", content: strings.Repeat("x", 2<<20)}}, Limits{Unpacked: 1 << 20}, "more than 1 MiB"},
		{"unpacked too large together", []entry{{name: "a", content: strings.Repeat("x", 700<<10)}, {name: "b", content: strings.Repeat("x", 700<<10)}}, Limits{Unpacked: 1 << 20}, "more than 1 MiB"},
		{"packed too large", []entry{{name: "a", content: "x"}}, Limits{Size: 10}, "10 are allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := inspect(makeZip(t, tt.entries...), tt.limits)
			checkInvalid(t, err, tt.want)
		})
	}
}

func checkInvalid(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var bad *InvalidError
	if !errors.As(err, &bad) && !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v, want an InvalidError or ErrTooLarge", err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want it to say %q", err, want)
	}
}

func TestInspectDamaged(t *testing.T) {
	good := makeZip(t, entry{name: "a", content: string(random(100 << 10)), method: store}, entry{name: "b", content: "bb"})
	change := func(f func(data []byte) []byte) []byte { return f(bytes.Clone(good)) }
	directory := bytes.Index(good, directoryHeader)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"no zip", []byte("this is a text"), "no zip archive"},
		{"nothing", nil, "no zip archive"},
		{"cut", good[:len(good)-10], "no zip archive"},
		{"content flipped", change(func(d []byte) []byte { d[1000] ^= 1; return d }), "damaged"},
		{"local header gone", change(func(d []byte) []byte { d[0] = 'X'; return d }), "damaged"},
		{"sizes of a stored file differ", change(func(d []byte) []byte {
			binary.LittleEndian.PutUint32(d[directory+24:], 50<<10)
			return d
		}), "two sizes differ"},
		{"data beyond the end", change(func(d []byte) []byte {
			binary.LittleEndian.PutUint32(d[directory+20:], 1<<30)
			binary.LittleEndian.PutUint32(d[directory+24:], 1<<30)
			return d
		}), "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := inspect(tt.data, Limits{})
			if tt.name == "data beyond the end" && err != nil {
				return // overlap or damage, both are right
			}
			checkInvalid(t, err, tt.want)
		})
	}
}

// TestOverlap: two entries of the directory name the same data.
func TestOverlap(t *testing.T) {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	w, err := z.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	data := buf.Bytes()
	start := bytes.Index(data, directoryHeader)
	end := bytes.Index(data, []byte("PK\x05\x06"))
	one := bytes.Clone(data[start:end])
	two := bytes.Clone(one)
	two[46] = 'b' // its name
	out := append(append(bytes.Clone(data[:start]), one...), two...)
	tail := bytes.Clone(data[end:])
	binary.LittleEndian.PutUint16(tail[8:], 2)
	binary.LittleEndian.PutUint16(tail[10:], 2)
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(one)+len(two)))
	_, err = inspect(append(out, tail...), Limits{})
	checkInvalid(t, err, "overlap")
}

func TestBombByRatio(t *testing.T) {
	zeros := makeZip(t, entry{name: "zeros", content: strings.Repeat("\x00", 2<<20)})
	_, err := inspect(zeros, Limits{RatioFrom: 1 << 20})
	checkInvalid(t, err, "zip bomb")
	_, err = inspect(zeros, Limits{})
	checkInvalid(t, err, "") // too small to harm
	_, err = inspect(makeZip(t, entry{name: "data", content: string(random(2 << 20))}), Limits{RatioFrom: 1 << 20})
	checkInvalid(t, err, "")
}

func TestInspectFindsLargeFiles(t *testing.T) {
	big := string(random(MatchFrom))
	files, err := inspect(makeZip(t, entry{name: "small", content: big[1:]}, entry{name: "./big", content: big}), Limits{})
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v", files, err)
	}
	if f := files[0]; f.Path != "./big" || f.Size != MatchFrom || f.SHA1 != sha1Of(big) {
		t.Errorf("got %v", f)
	}
}

func TestInspectStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := makeZip(t, entry{name: "a", content: "x"})
	if _, err := Inspect(ctx, bytes.NewReader(data), int64(len(data)), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(makeZip(f, entry{name: "a", content: "x"}, link("l", "a"), entry{name: "d/", mode: fs.ModeDir | 0o755}))
	f.Add(makeZip(f, entry{name: "../a"}, link("l", "../..")))
	f.Add(makeZip(f, entry{name: "big", content: string(random(MatchFrom))}))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	limits := Limits{Size: 1 << 20, Unpacked: 4 << 20, Entries: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := inspect(data, limits)
		var bad *InvalidError
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("an error of another kind: %v", err)
		}
		if err != nil {
			return
		}
		// What passed must be harmless when unpacked.
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range z.File {
			if !fs.ValidPath(strings.TrimSuffix(mustClean(t, e.Name), "/")) {
				t.Errorf("a path passed: %q", e.Name)
			}
		}
	})
}

func mustClean(t *testing.T, name string) string {
	t.Helper()
	p, err := cleanPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToValidUTF8(p, "?")
}
