// Package manifest reads app manifests, the YAML that "cf push" sends.
//
// Parse checks everything that can be known without the state; each problem
// names the app and the field. Keys that it does not know are left alone:
// clients keep their own in manifests (such as "path").
package manifest

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Manifest is a manifest without mistakes.
type Manifest struct {
	Applications []Application
}

// Application is what a manifest says of an app; what is nil is not said.
type Application struct {
	Name       string
	Buildpacks *[]string // empty means detection
	Stack      *string
	// Docker is set if the app wants an image or another lifecycle.
	Docker        bool
	Env           map[string]string
	Routes        []Route
	NoRoute       bool
	RandomRoute   bool
	DefaultRoute  bool
	Services      []Service
	Processes     []Process // at most one of a type
	Sidecars      []Sidecar
	Labels        map[string]*string // nil removes one
	Annotations   map[string]*string
	Features      map[string]bool
	PlacementZone *string // stackato: {placement-zone: …}
}

// Route is an address that the app wants.
type Route struct {
	URL           string // host.domain/path, without scheme
	Protocol      string // "" is the default
	LoadBalancing string
}

// Service is a service instance that the app wants to be bound to.
type Service struct {
	Name          string
	BindingName   string
	HasParameters bool
}

// Process is what a manifest says of a process type.
type Process struct {
	Type         string
	Command      *string // "" is the droplet's
	Instances    *int
	MemoryMB     *int
	DiskMB       *int
	LogRateBytes *int64 // -1 is unlimited
	Health       Check
	Readiness    Check
}

// Check is what a manifest says of a health or readiness check.
type Check struct {
	Type              *string // "port", "http", "process"
	Endpoint          *string
	Timeout           *int // seconds
	InvocationTimeout *int
	Interval          *int
}

// Set reports whether the manifest says anything of the check.
func (c Check) Set() bool {
	return c.Type != nil || c.Endpoint != nil || c.Timeout != nil || c.InvocationTimeout != nil || c.Interval != nil
}

// Sidecar is a sidecar that the app wants.
type Sidecar struct {
	Name         string
	Command      *string
	ProcessTypes *[]string
	MemoryMB     *int
}

// FieldErrors are all mistakes of a manifest, each a sentence.
type FieldErrors []string

// Error joins the problems.
func (p FieldErrors) Error() string { return strings.Join(p, ", ") }

// Bounds of a manifest.
const (
	maxApplications = 100
	maxList         = 200 // entries of routes, services, sidecars, processes
)

// Parse reads a manifest. The error is FieldErrors, or ErrSyntax if it is no
// YAML.
func Parse(data []byte) (Manifest, error) {
	root, err := Decode(data)
	if err != nil {
		return Manifest{}, err
	}
	p := &parser{}
	m := p.manifest(root)
	if len(p.problems) > 0 {
		return Manifest{}, p.problems
	}
	return m, nil
}

// ErrSyntax says that a manifest is no YAML.
var ErrSyntax = errors.New("the manifest is not valid YAML")

// Decode reads YAML as plain values.
func Decode(data []byte) (root map[string]any, err error) {
	var doc yaml.Node
	err = yaml.NewDecoder(strings.NewReader(string(data))).Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		err = checkSize(&doc)
	}
	if err == nil {
		err = doc.Decode(&root)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrSyntax, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return root, nil
}
