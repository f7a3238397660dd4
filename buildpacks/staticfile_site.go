package buildpacks

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// site is what a Staticfile says.
type site struct {
	Root         string // below the app's directory; "" is the directory itself
	Listing      bool   // directory: visible
	PushState    bool
	DotFiles     bool
	SSI          bool
	ForceHTTPS   bool
	HSTS         bool
	HSTSSub      bool
	HSTSPreload  bool
	Include      string // of nginx configuration, below nginx/conf
	Auth         bool
	StatusPages  []statusPage
	sawUnhandled []string
}

type statusPage struct {
	Code int
	Page string
}

//go:embed staticfile_nginx.conf
var nginxTemplate string

var siteTemplate = template.Must(template.New("nginx.conf").Parse(nginxTemplate))

// readSite reads the Staticfile and says what it enables. A missing one is an
// empty one: the buildpack may have been named.
func readSite(c *Context) (site, error) {
	raw, err := c.read("Staticfile")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return site{}, err
	}
	conf, err := parseSite(raw)
	if err != nil {
		return site{}, err
	}
	for _, key := range conf.sawUnhandled {
		c.Log.Warn("Staticfile: %q is not known and has no effect", key)
	}
	for _, on := range []struct {
		yes  bool
		what string
	}{
		{conf.Listing, "directory index for folders without index.html files"},
		{conf.PushState, "pushstate"},
		{conf.DotFiles, "hosting of dotfiles"},
		{conf.SSI, "SSI"},
		{conf.ForceHTTPS, "HTTPS redirect"},
		{conf.HSTS, "HSTS"},
		{conf.Include != "", "location include file " + conf.Include},
	} {
		if on.yes {
			c.Log.Step("Enabling %s", on.what)
		}
	}
	return conf, nil
}

// parseSite parses a Staticfile.
func parseSite(raw []byte) (site, error) {
	values := map[string]any{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return site{}, fmt.Errorf("Staticfile is no YAML map: %w", err)
	}
	var s site
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := s.set(key, values[key]); err != nil {
			return site{}, fmt.Errorf("Staticfile: %s: %w", key, err)
		}
	}
	return s, nil
}

func (s *site) set(key string, v any) (err error) {
	switch key {
	case "root":
		s.Root, err = localPath(v)
	case "directory":
		s.Listing = v == "visible" || enabled(v)
	case "pushstate":
		s.PushState = enabled(v)
	case "host_dot_files":
		s.DotFiles = enabled(v)
	case "ssi":
		s.SSI = enabled(v)
	case "force_https":
		s.ForceHTTPS = enabled(v)
	case "http_strict_transport_security":
		s.HSTS = enabled(v)
	case "http_strict_transport_security_include_subdomains":
		s.HSTSSub = enabled(v)
	case "http_strict_transport_security_preload":
		s.HSTSPreload = enabled(v)
	case "location_include":
		s.Include, err = localPath(v)
		if err == nil && !plainText.MatchString(s.Include) {
			err = fmt.Errorf("%q has characters that nginx would not take as a name", s.Include)
		}
	case "status_codes":
		s.StatusPages, err = statusPages(v)
	default:
		s.sawUnhandled = append(s.sawUnhandled, key)
	}
	return err
}

// enabled reads what people write for yes.
func enabled(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v == "true" || v == "enabled" || v == "yes" || v == "on"
	}
	return false
}

func localPath(v any) (string, error) {
	text, ok := v.(string)
	if !ok {
		if v == nil {
			return "", nil
		}
		return "", fmt.Errorf("%v is no path", v)
	}
	if text == "" || text == "." {
		return "", nil
	}
	text = filepath.Clean(text)
	if !filepath.IsLocal(text) {
		return "", fmt.Errorf("%q leads out of the app's directory", text)
	}
	return text, nil
}

// plainText holds what may stand in nginx's configuration without quotes.
var plainText = regexp.MustCompile(`^[A-Za-z0-9_./*+~@-]+$`)

func statusPages(v any) ([]statusPage, error) {
	entries, ok := v.(map[string]any)
	if !ok {
		numbered, isMap := v.(map[any]any)
		if !isMap {
			return nil, errors.New("it must map status codes to pages, such as 404: /404.html")
		}
		entries = map[string]any{}
		for k, page := range numbered {
			entries[fmt.Sprint(k)] = page
		}
	}
	var pages []statusPage
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		code, err := strconv.Atoi(key)
		if err != nil || code < 300 || code > 599 {
			return nil, fmt.Errorf("%q is no status code from 300 to 599", key)
		}
		page, ok := entries[key].(string)
		if !ok || !plainText.MatchString(page) {
			return nil, fmt.Errorf("%v is no page", entries[key])
		}
		if page[0] != '/' {
			page = "/" + page
		}
		pages = append(pages, statusPage{Code: code, Page: page})
	}
	return pages, nil
}

// render returns nginx's configuration, with marks that boot.sh replaces.
func (s site) render() ([]byte, error) {
	var out bytes.Buffer
	if err := siteTemplate.Execute(&out, s); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
