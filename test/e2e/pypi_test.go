package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Hosts of the Python Package Index, which pip asks when nobody tells it
// otherwise: one has the lists, the other the files.
const (
	indexName = "pypi.org"
	filesName = "files.pythonhosted.org"
)

// pypi answers in the place of the Python Package Index, as PEP 503 says.
type pypi struct {
	files    map[string][]byte // by name
	projects map[string]string // pages, by normalized name
}

// newPyPI makes packages of all kinds:
//
//	words     1.0, 1.1, 2.0
//	greeter   1.0 works with words below 2; 1.1 wants words 2
//	shout     source only, built by tinybuild, which is on the index as well; it asks for louder
func newPyPI(t *testing.T) *pypi {
	t.Helper()
	p := &pypi{files: map[string][]byte{}, projects: map[string]string{}}
	for _, v := range []string{"1.0", "1.1", "2.0"} {
		p.wheel(t, "words", v, fmt.Sprintf("hello = 'hello from words %s'\n", v))
	}
	p.wheel(t, "greeter", "1.0", "import words\ndef greet(): return words.hello\n", "words>=1")
	p.wheel(t, "greeter", "1.1", "import words\ndef greet(): return words.hello + '!'\n", "words>=2")
	p.wheel(t, "louder", "1.0", "def louder(text): return text.upper()\n")
	p.wheel(t, "tinybuild", "1.0", p.source(t, "tinybuild.py"))
	p.add("shout-1.0.tar.gz", p.sdist(t, "shout-1.0", map[string]string{
		"PKG-INFO":       "Metadata-Version: 2.1\nName: shout\nVersion: 1.0\nRequires-Dist: louder\n",
		"pyproject.toml": "[build-system]\nrequires = ['tinybuild>=1']\nbuild-backend = 'tinybuild'\n",
		"shout.py":       "from louder import louder\ndef shout(text): return louder(text)\n",
	}), "")
	return p
}

// source is a file of Python beside the scripts.
func (*pypi) source(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata/pypi", name))
	must(t, err)
	return string(raw)
}

// wheel adds a wheel with one module that has the name of the project.
func (p *pypi) wheel(t *testing.T, name, version, module string, requires ...string) {
	t.Helper()
	metadata := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\nRequires-Python: >=3.8\n", name, version)
	for _, r := range requires {
		metadata += "Requires-Dist: " + r + "\n"
	}
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	record := ""
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	put := func(file, body string) {
		w, err := z.Create(file)
		must(t, err)
		_, err = w.Write([]byte(body))
		must(t, err)
		sum := sha256.Sum256([]byte(body))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", file, base64.RawURLEncoding.EncodeToString(sum[:]), len(body))
	}
	put(name+".py", module)
	put(info+"METADATA", metadata)
	put(info+"WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
	put(info+"RECORD", record+info+"RECORD,,\n")
	must(t, z.Close())
	p.add(fmt.Sprintf("%s-%s-py3-none-any.whl", name, version), out.Bytes(), ` data-requires-python="&gt;=3.8"`)
}

func (*pypi) sdist(t *testing.T, dir string, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	tw := tar.NewWriter(gz)
	for name, body := range files {
		must(t, tw.WriteHeader(&tar.Header{Name: dir + "/" + name, Mode: 0o644, Size: int64(len(body))}))
		_, err := tw.Write([]byte(body))
		must(t, err)
	}
	must(t, tw.Close())
	must(t, gz.Close())
	return out.Bytes()
}

// add puts a file on the index; the page of its project names its hash.
func (p *pypi) add(file string, body []byte, attributes string) {
	project, _, _ := strings.Cut(file, "-")
	p.files[file] = body
	p.projects[project] += fmt.Sprintf("<a href=\"https://%s/packages/%s#sha256=%s\"%s>%s</a><br>\n", filesName, file, p.digest(file), attributes, file)
}

func (p *pypi) digest(file string) string {
	sum := sha256.Sum256(p.files[file])
	return hex.EncodeToString(sum[:])
}

// serve answers for both hosts. What may be kept and for how long is as the
// real ones say.
func (p *pypi) serve(mux *http.ServeMux) {
	mux.HandleFunc("GET "+indexName+"/simple/{project}/{$}", func(w http.ResponseWriter, r *http.Request) {
		page, ok := p.projects[r.PathValue("project")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "max-age=600, public")
		fmt.Fprintf(w, "<!DOCTYPE html><html><body>\n%s</body></html>\n", page)
	})
	mux.HandleFunc("GET "+filesName+"/packages/{file}", func(w http.ResponseWriter, r *http.Request) {
		body, ok := p.files[r.PathValue("file")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "max-age=365000000, immutable, public")
		http.ServeContent(w, r, r.PathValue("file"), time.Time{}, bytes.NewReader(body))
	})
}
