package manifest

import (
	"math"
	"regexp"
	"slices"
	"strings"
)

// processKeys may stand at an app too: they are the web process' then.
var processKeys = []string{
	"command", "instances", "memory", "disk_quota", "disk-quota", "log-rate-limit-per-second", "timeout",
	"health-check-type", "health-check-http-endpoint", "health-check-invocation-timeout", "health-check-interval",
	"readiness-health-check-type", "readiness-health-check-http-endpoint", "readiness-health-check-invocation-timeout",
	"readiness-health-check-interval",
}

var processType = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

// processes reads "processes"; keys at the app itself are those of the web
// process unless that has its own.
func (p *parser) processes(f map[string]any) []Process {
	var out []Process
	seen := map[string]bool{}
	for i, v := range p.list(f, "processes") {
		fields, isMap := v.(map[string]any)
		typ, isText := fields["type"].(string)
		switch {
		case !isMap || !isText || typ == "":
			p.fail("All Processes must specify a type (field processes[%d].type)", i)
			continue
		case !processType.MatchString(typ):
			p.fail("Process type '%s' must be at most 63 letters, digits, '-', '_' or '.' (field processes[%d].type)", shown(typ), i)
			continue
		case seen[typ]:
			p.fail("Process \"%s\" may only be present once (field processes[%d].type)", typ, i)
			continue
		}
		seen[typ] = true
		if typ == "web" {
			fields = withDefaults(fields, f)
		}
		p.within("Process \""+typ+"\": ", func() { out = append(out, p.process(typ, fields)) })
	}
	if !seen["web"] && hasAny(f) {
		p.within("Process \"web\": ", func() { out = append(out, p.process("web", f)) })
	}
	return out
}

func hasAny(f map[string]any) bool {
	for _, key := range processKeys {
		if _, said := f[key]; said {
			return true
		}
	}
	return false
}

// withDefaults is process with what only the app says.
func withDefaults(process, app map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range processKeys {
		if v, said := app[key]; said {
			out[key] = v
		}
	}
	for key, v := range process {
		out[key] = v
	}
	return out
}

const (
	maxInstances = 10_000
	maxSizeMB    = 4 << 20
	maxSeconds   = 3600
)

func (p *parser) process(typ string, f map[string]any) Process {
	out := Process{
		Type: typ, Command: p.command(f), Instances: p.number(f, "instances", 0, maxInstances),
		MemoryMB: p.size(f, "memory"), DiskMB: p.size(f, "disk_quota"), LogRateBytes: p.logRate(f),
		Health: Check{
			Type: p.checkType(f, "health-check-type"), Endpoint: p.endpoint(f, "health-check-http-endpoint"),
			Timeout:           p.number(f, "timeout", 1, maxSeconds),
			InvocationTimeout: p.number(f, "health-check-invocation-timeout", 1, maxSeconds),
			Interval:          p.number(f, "health-check-interval", 1, maxSeconds),
		},
		Readiness: Check{
			Type: p.checkType(f, "readiness-health-check-type"), Endpoint: p.endpoint(f, "readiness-health-check-http-endpoint"),
			InvocationTimeout: p.number(f, "readiness-health-check-invocation-timeout", 1, maxSeconds),
			Interval:          p.number(f, "readiness-health-check-interval", 1, maxSeconds),
		},
	}
	if out.DiskMB == nil {
		out.DiskMB = p.size(f, "disk-quota")
	}
	if e, t := out.Health.Endpoint, out.Health.Type; e != nil && t != nil && *t != "http" {
		p.fail("Health check type must be \"http\" to set a health check HTTP endpoint (field health-check-type)")
	}
	return out
}

// command: null and "default" are the droplet's.
func (p *parser) command(f map[string]any) *string {
	v, said := f["command"]
	if !said {
		return nil
	}
	none := ""
	c := p.text(f, "command")
	switch {
	case v == nil, c != nil && (*c == "null" || *c == "default"):
		return &none
	case c != nil && (len(*c) > 4096 || strings.Contains(*c, "\x00")):
		p.fail("Command must be between 1 and 4096 characters (field command)")
	}
	return c
}

// size is an amount in MiB.
func (p *parser) size(f map[string]any, key string) *int {
	v, said := f[key]
	if !said || v == nil {
		return nil
	}
	n, good := bytes(v)
	if !good {
		p.fail("%s must use a supported unit: B, K, KB, M, MB, G, GB, T, or TB (field %s)", title(key), key)
		return nil
	}
	mb := int(math.Floor(n / (1 << 20)))
	if n <= 0 || mb < 1 {
		p.fail("%s must be greater than 0MB (field %s)", title(key), key)
		return nil
	}
	if mb > maxSizeMB {
		p.fail("%s must be at most %dM (field %s)", title(key), maxSizeMB, key)
		return nil
	}
	return &mb
}

// logRate: -1 is unlimited, 0 is nothing.
func (p *parser) logRate(f map[string]any) *int64 {
	key := "log-rate-limit-per-second"
	v, said := f[key]
	if !said || v == nil {
		return nil
	}
	var n int64
	switch v {
	case -1, "-1":
		n = -1
	case 0, "0":
	default:
		b, good := bytes(v)
		if !good || b < 0 || b > 1<<50 {
			p.fail("Log rate limit per second must use a supported unit: B, K, KB, M, MB, G, GB, T, or TB, or be 0 or -1 (field %s)", key)
			return nil
		}
		n = int64(b)
	}
	return &n
}

func (p *parser) checkType(f map[string]any, key string) *string {
	t := p.text(f, key)
	if t == nil {
		return nil
	}
	switch *t {
	case "port", "http", "process":
		return t
	case "none":
		process := "process"
		return &process
	}
	p.fail("%s must be \"port\", \"process\", or \"http\" (field %s)", title(key), key)
	return nil
}

func (p *parser) endpoint(f map[string]any, key string) *string {
	e := p.text(f, key)
	if e != nil && (!strings.HasPrefix(*e, "/") || len(*e) > 2048 || strings.ContainsAny(*e, " \r\n\t\x00")) {
		p.fail("%s must be a valid URI path (field %s)", title(key), key)
		return nil
	}
	return e
}

func (p *parser) sidecars(f map[string]any) []Sidecar {
	var out []Sidecar
	seen := map[string]bool{}
	for i, v := range p.list(f, "sidecars") {
		fields, isMap := v.(map[string]any)
		name, isText := fields["name"].(string)
		if !isMap || !isText || name == "" || len(name) > 255 {
			p.fail("Sidecar name can't be blank (field sidecars[%d].name)", i)
			continue
		}
		p.within("Sidecar \""+shown(name)+"\": ", func() {
			if seen[name] {
				p.fail("Name is used twice (field sidecars[%d].name)", i)
			}
			s := Sidecar{Name: name, Command: p.text(fields, "command"), MemoryMB: p.size(fields, "memory"), ProcessTypes: p.types(fields)}
			if s.Command != nil && (*s.Command == "" || len(*s.Command) > 4096) {
				p.fail("Command must be between 1 and 4096 characters (field command)")
			}
			out = append(out, s)
		})
		seen[name] = true
	}
	return out
}

func (p *parser) types(f map[string]any) *[]string {
	if f["process_types"] == nil {
		return nil
	}
	out := []string{}
	for _, v := range p.list(f, "process_types") {
		typ, isText := v.(string)
		if !isText || !processType.MatchString(typ) {
			p.fail("Process types can only contain process types (field process_types)")
			return nil
		}
		out = append(out, typ)
	}
	if len(out) == 0 {
		p.fail("Process types must have at least 1 process_type (field process_types)")
	}
	return &out
}

// OfProcess reports whether a key at an app is one of its web process.
func OfProcess(key string) bool { return slices.Contains(processKeys, key) }
