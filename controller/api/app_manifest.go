package api

import (
	"bytes"
	"fmt"
	"net/http"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

func (a *API) appManifestRoutes() []route {
	return []route{
		{"GET", "/v3/apps/{guid}/manifest", auth.AppSecrets, "Show an app as a manifest (YAML).", getAppManifest},
	}
}

// manifestYAML is a manifest as it is shown; the order of fields is that of
// Cloud Foundry.
type manifestYAML struct {
	Applications []appYAML `yaml:"applications"`
}

type appYAML struct {
	Name       string            `yaml:"name"`
	Lifecycle  string            `yaml:"lifecycle,omitempty"`
	Stack      string            `yaml:"stack,omitempty"`
	Buildpacks []string          `yaml:"buildpacks,omitempty"`
	Features   map[string]bool   `yaml:"features,omitempty"`
	Services   []any             `yaml:"services,omitempty"`
	Routes     []routeYAML       `yaml:"routes,omitempty"`
	Metadata   *metadataYAML     `yaml:"metadata,omitempty"`
	Env        map[string]string `yaml:"env,omitempty"`
	Processes  []processYAML     `yaml:"processes"`
	Sidecars   []sidecarYAML     `yaml:"sidecars,omitempty"`
	Stackato   map[string]string `yaml:"stackato,omitempty"`
}

type metadataYAML struct {
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type serviceYAML struct {
	Name        string `yaml:"name"`
	BindingName string `yaml:"binding_name"`
}

type routeYAML struct {
	Route    string            `yaml:"route"`
	Protocol string            `yaml:"protocol,omitempty"`
	Options  map[string]string `yaml:"options,omitempty"`
}

type processYAML struct {
	Type                       string `yaml:"type"`
	Instances                  int    `yaml:"instances"`
	Command                    string `yaml:"command,omitempty"`
	Memory                     string `yaml:"memory"`
	Disk                       string `yaml:"disk_quota"`
	LogRate                    string `yaml:"log-rate-limit-per-second"`
	HealthType                 string `yaml:"health-check-type"`
	HealthEndpoint             string `yaml:"health-check-http-endpoint,omitempty"`
	HealthInvocationTimeout    int    `yaml:"health-check-invocation-timeout,omitempty"`
	HealthInterval             int    `yaml:"health-check-interval,omitempty"`
	Timeout                    int    `yaml:"timeout,omitempty"`
	ReadinessType              string `yaml:"readiness-health-check-type,omitempty"`
	ReadinessEndpoint          string `yaml:"readiness-health-check-http-endpoint,omitempty"`
	ReadinessInvocationTimeout int    `yaml:"readiness-health-check-invocation-timeout,omitempty"`
	ReadinessInterval          int    `yaml:"readiness-health-check-interval,omitempty"`
}

type sidecarYAML struct {
	Name         string   `yaml:"name"`
	Command      string   `yaml:"command"`
	ProcessTypes []string `yaml:"process_types"`
	Memory       string   `yaml:"memory,omitempty"`
}

func getAppManifest(r *request) (response, error) {
	a, err := r.app(auth.AppSecrets)
	if err != nil {
		return response{}, err
	}
	out, err := r.manifestOf(a)
	if err != nil {
		return response{}, err
	}
	var b bytes.Buffer
	b.WriteString("---\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(manifestYAML{[]appYAML{out}}); err != nil {
		return response{}, fmt.Errorf("write a manifest: %w", err)
	}
	return response{raw: func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/x-yaml")
		_, err := w.Write(b.Bytes())
		return err
	}}, nil
}

// manifestOf is an app as a manifest would make it.
func (r *request) manifestOf(a cf.App) (appYAML, error) {
	out := appYAML{Name: a.Name, Lifecycle: "buildpack", Stack: a.Stack, Buildpacks: a.Buildpacks, Features: map[string]bool{}}
	var err error
	if out.Env, err = state.OpenEnv(r.api.Sealer, a.GUID, a.Env); err != nil {
		return out, err
	}
	for _, f := range appFeatures {
		out.Features[f.name] = f.enabled(a)
	}
	if len(a.Labels) > 0 || len(a.Annotations) > 0 {
		out.Metadata = &metadataYAML{a.Labels, a.Annotations}
	}
	if a.PlacementZone != "" {
		out.Stackato = map[string]string{"placement-zone": a.PlacementZone}
	}
	for _, b := range r.view.ServiceBindingsOfApp(a.GUID) {
		i, _ := r.view.ServiceInstance(b.ServiceInstanceGUID)
		if b.Name != "" {
			out.Services = append(out.Services, serviceYAML{i.Name, b.Name})
		} else {
			out.Services = append(out.Services, i.Name)
		}
	}
	for _, p := range r.view.ProcessesOfApp(a.GUID) {
		out.Processes = append(out.Processes, processAsYAML(p))
	}
	for _, s := range r.view.SidecarsOfApp(a.GUID) {
		y := sidecarYAML{Name: s.Name, Command: s.Command, ProcessTypes: s.ProcessTypes}
		if s.MemoryMB > 0 {
			y.Memory = megabytes(s.MemoryMB)
		}
		out.Sidecars = append(out.Sidecars, y)
	}
	out.Routes = r.routesAsYAML(a)
	return out, nil
}

func (r *request) routesAsYAML(a cf.App) []routeYAML {
	var out []routeYAML
	for _, d := range r.view.DestinationsOfApp(a.GUID) {
		rt, found := r.view.Route(d.RouteGUID)
		domain, known := r.view.Domain(rt.DomainGUID)
		if !found || !known || d.ProcessType != cf.ProcessWeb {
			continue
		}
		y := routeYAML{Route: rt.URL(domain.Name), Protocol: d.Protocol}
		if rt.LoadBalancing != "" {
			y.Options = map[string]string{"loadbalancing": rt.LoadBalancing}
		}
		out = append(out, y)
	}
	return out
}

func megabytes(n int) string { return fmt.Sprintf("%dM", n) }

func processAsYAML(p cf.Process) processYAML {
	out := processYAML{
		Type: p.Type, Instances: p.Instances, Command: p.Command, Memory: megabytes(p.MemoryMB), Disk: megabytes(p.DiskMB),
		LogRate:    "-1",
		HealthType: p.Health.Type, HealthEndpoint: p.Health.Endpoint, Timeout: p.Health.Timeout,
		HealthInvocationTimeout: p.Health.InvocationTimeout, HealthInterval: p.Health.Interval,
	}
	if p.LogRateBytes == 0 {
		out.LogRate = "0"
	} else if p.LogRateBytes > 0 {
		out.LogRate = fmt.Sprintf("%dB", p.LogRateBytes)
	}
	if c := p.Readiness; c.Type != instance.CheckProcess {
		out.ReadinessType, out.ReadinessEndpoint = c.Type, c.Endpoint
		out.ReadinessInvocationTimeout, out.ReadinessInterval = c.InvocationTimeout, c.Interval
	}
	return out
}
