package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parser walks through the values of a manifest and collects problems.
type parser struct {
	problems FieldErrors
	where    string // "For application 'x': "
}

func (p *parser) fail(format string, args ...any) {
	if len(p.problems) < 50 {
		p.problems = append(p.problems, p.where+fmt.Sprintf(format, args...))
	}
}

// within prefixes problems while f runs.
func (p *parser) within(where string, f func()) {
	old := p.where
	p.where += where
	f()
	p.where = old
}

func (p *parser) manifest(root map[string]any) Manifest {
	var m Manifest
	if v, said := root["version"]; said && v != 1 {
		p.fail("Unsupported manifest schema version. Currently supported versions: [1]")
	}
	apps, isList := root["applications"].([]any)
	if !isList || len(apps) == 0 {
		p.fail("Cannot parse manifest with no 'applications' field.")
		return m
	}
	if len(apps) > maxApplications {
		p.fail("Applications can be at most %d", maxApplications)
		return m
	}
	names := map[string]bool{}
	for i, v := range apps {
		fields, isMap := v.(map[string]any)
		name, isName := fields["name"].(string)
		if !isMap || !isName || name == "" {
			p.fail("For application at index %d: Name must not be empty", i)
			continue
		}
		p.within("For application '"+shown(name)+"': ", func() {
			if names[name] {
				p.fail("Name is used twice in the manifest")
			}
			if len(name) > 255 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				p.fail("Name must be printable and at most 255 characters")
			}
			m.Applications = append(m.Applications, p.application(name, fields))
		})
		names[name] = true
	}
	return m
}

func shown(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

func (p *parser) application(name string, f map[string]any) Application {
	a := Application{
		Name: name, Stack: p.text(f, "stack"), Env: p.env(f), Routes: p.routes(f), Services: p.services(f),
		NoRoute: p.flag(f, "no-route"), RandomRoute: p.flag(f, "random-route"), DefaultRoute: p.flag(f, "default-route"),
		Sidecars: p.sidecars(f), Buildpacks: p.buildpacks(f),
	}
	lifecycle := p.text(f, "lifecycle")
	_, docker := f["docker"]
	a.Docker = docker || lifecycle != nil && *lifecycle != "buildpack"
	if docker && a.Buildpacks != nil {
		p.fail("Cannot specify both buildpack(s) and docker keys")
	}
	if a.NoRoute && (a.RandomRoute || a.DefaultRoute && len(a.Routes) > 0) {
		p.fail("Cannot use the combination of properties: no-route with routes, random-route or default-route")
	}
	if a.RandomRoute && a.DefaultRoute {
		p.fail("Random-route and default-route may not be used together")
	}
	if meta := p.object(f, "metadata"); meta != nil {
		a.Labels, a.Annotations = p.patch(meta, "labels"), p.patch(meta, "annotations")
	}
	if features := p.object(f, "features"); features != nil {
		a.Features = map[string]bool{}
		for key := range features {
			a.Features[key] = p.flag(features, key)
		}
	}
	if own := p.object(f, "stackato"); own != nil {
		a.PlacementZone = p.text(own, "placement-zone")
	}
	a.Processes = p.processes(f)
	return a
}

// title is a key as Cloud Foundry's texts write it.
func title(key string) string {
	key = strings.NewReplacer("-", " ", "_", " ").Replace(key)
	return strings.ToUpper(key[:1]) + key[1:]
}

// text is a string field; nil if it is missing or null.
func (p *parser) text(f map[string]any, key string) *string {
	switch v := f[key].(type) {
	case nil:
		return nil
	case string:
		return &v
	}
	p.fail("%s must be a string (field %s)", title(key), key)
	return nil
}

func (p *parser) flag(f map[string]any, key string) bool {
	switch v := f[key].(type) {
	case nil:
		return false
	case bool:
		return v
	}
	p.fail("%s must be a boolean (field %s)", title(key), key)
	return false
}

// number is a whole number within bounds.
func (p *parser) number(f map[string]any, key string, least, most int) *int {
	v, said := f[key]
	if !said || v == nil {
		return nil
	}
	n, isInt := v.(int)
	if !isInt {
		p.fail("%s is not a number (field %s)", title(key), key)
		return nil
	}
	if n < least || n > most {
		p.fail("%s must be between %d and %d (field %s)", title(key), least, most, key)
		return nil
	}
	return &n
}

func (p *parser) object(f map[string]any, key string) map[string]any {
	switch v := f[key].(type) {
	case nil:
		return nil
	case map[string]any:
		return v
	}
	p.fail("%s must be a map (field %s)", title(key), key)
	return nil
}

// list is a list field with at most maxList entries.
func (p *parser) list(f map[string]any, key string) []any {
	switch v := f[key].(type) {
	case nil:
		return nil
	case []any:
		if len(v) <= maxList {
			return v
		}
		p.fail("%s can have at most %d entries (field %s)", title(key), maxList, key)
		return nil
	}
	p.fail("%s must be a list (field %s)", title(key), key)
	return nil
}

func (p *parser) env(f map[string]any) map[string]string {
	vars := p.object(f, "env")
	if vars == nil {
		return nil
	}
	out := make(map[string]string, len(vars))
	for name, v := range vars {
		out[name] = scalar(v)
	}
	return out
}

// scalar is a value as an environment variable has it.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool, int, int64, uint64:
		return fmt.Sprint(v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// patch is labels or annotations; null removes one.
func (p *parser) patch(f map[string]any, key string) map[string]*string {
	fields := p.object(f, key)
	if fields == nil {
		return nil
	}
	out := map[string]*string{}
	for k, v := range fields {
		if v == nil {
			out[k] = nil
			continue
		}
		s := scalar(v)
		out[k] = &s
	}
	return out
}

// buildpacks also reads the older key "buildpack": "default" and null mean
// detection.
func (p *parser) buildpacks(f map[string]any) *[]string {
	if one, said := f["buildpack"]; said && f["buildpacks"] == nil {
		out := []string{}
		if name, isText := one.(string); isText && name != "default" && name != "null" && name != "" {
			out = append(out, name)
		} else if !isText && one != nil {
			p.fail("Buildpack must be a string (field buildpack)")
		}
		return &out
	}
	if f["buildpacks"] == nil {
		return nil
	}
	out := []string{}
	for i, v := range p.list(f, "buildpacks") {
		name, isText := v.(string)
		if !isText {
			p.fail("Buildpacks can only contain strings (field buildpacks[%d])", i)
			continue
		}
		out = append(out, name)
	}
	return &out
}

func (p *parser) routes(f map[string]any) []Route {
	var out []Route
	for i, v := range p.list(f, "routes") {
		fields, isMap := v.(map[string]any)
		url, isText := fields["route"].(string)
		if !isMap || !isText || strings.TrimSpace(url) == "" {
			p.fail("Routes must be a list of route objects (field routes[%d].route)", i)
			continue
		}
		r := Route{URL: url}
		if protocol := p.text(fields, "protocol"); protocol != nil {
			r.Protocol = *protocol
			if !slices.Contains([]string{"http1", "http2"}, r.Protocol) {
				p.fail("Route protocol must be 'http1' or 'http2' (field routes[%d].protocol)", i)
			}
		}
		if options := p.object(fields, "options"); options != nil {
			if lb := p.text(options, "loadbalancing"); lb != nil {
				r.LoadBalancing = *lb
				if !slices.Contains([]string{"round-robin", "least-connection"}, *lb) {
					p.fail("Cannot use loadbalancing value '%s' for Route: use 'round-robin' or 'least-connection' (field routes[%d].options.loadbalancing)", shown(*lb), i)
				}
			}
		}
		out = append(out, r)
	}
	return out
}

func (p *parser) services(f map[string]any) []Service {
	var out []Service
	for i, v := range p.list(f, "services") {
		switch v := v.(type) {
		case string:
			out = append(out, Service{Name: v})
		case map[string]any:
			s := Service{HasParameters: v["parameters"] != nil}
			if name := p.text(v, "name"); name != nil {
				s.Name = *name
			}
			if name := p.text(v, "binding_name"); name != nil {
				s.BindingName = *name
			}
			if s.Name == "" {
				p.fail("Service name must not be empty (field services[%d].name)", i)
			}
			out = append(out, s)
		default:
			p.fail("All services bindings must be names or maps (field services[%d])", i)
		}
	}
	return out
}

var units = regexp.MustCompile(`^(-?\d{1,15}(?:\.\d{1,6})?) ?([KMGT]?B?)$`)

// bytes reads "512M", "1.5GB"; false if it is none such.
func bytes(v any) (float64, bool) {
	s, isText := v.(string)
	parts := units.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(s)))
	if !isText || parts == nil || parts[2] == "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	exp := strings.Index("BKMGT", parts[2][:1])
	return n * math.Pow(1024, float64(exp)), err == nil && exp >= 0
}

// SameSize reports whether both are amounts of bytes, and equal.
func SameSize(a, b any) bool {
	x, good := bytes(a)
	y, too := bytes(b)
	return good && too && x == y
}
