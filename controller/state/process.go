package state

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var processes = newTable[cf.Process]("cf_processes", byGUID(), unique("type", "AppGUID", "Type"), by("app", "AppGUID"))

// Process returns one process.
func (v *View) Process(guid string) (cf.Process, bool) { return processes.get(v, "id", guid) }

// ProcessByType finds a process of an app.
func (v *View) ProcessByType(appGUID, typ string) (cf.Process, bool) {
	return processes.get(v, "type", appGUID, typ)
}

// Processes returns all processes, in no useful order.
func (v *View) Processes() []cf.Process { return processes.list(v, "id") }

// ProcessesOfApp returns the processes of an app: "web" first, then by type.
func (v *View) ProcessesOfApp(appGUID string) []cf.Process {
	out := processes.list(v, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Process) int { return strings.Compare(webFirst(a.Type), webFirst(b.Type)) })
	return out
}

func webFirst(typ string) string {
	if typ == cf.ProcessWeb {
		return ""
	}
	return typ
}

func getProcess(tx *Tx, guid string) (cf.Process, error) {
	p, ok := processes.get(tx, "id", guid)
	if !ok {
		return p, cf.ErrNotFound.With("Process not found")
	}
	return p, nil
}

var createProcess = newCommand("cf.process.create", 1, func(tx *Tx, in cf.Process) (none, error) {
	if _, err := getApp(tx, in.AppGUID); err != nil {
		return none{}, err
	}
	if processes.has(tx, "type", in.AppGUID, in.Type) {
		return none{}, cf.ErrUniqueness.With("Process with type '%s' already exists.", in.Type)
	}
	processes.put(tx, in)
	return none{}, nil
})

// CreateProcess adds a process type to an app. It runs from the app's next
// start on.
func (b *Batch) CreateProcess(p cf.Process) { createProcess.queue(b, p) }

// ProcessUpdate changes what is not nil. Changed settings take effect with
// the next version; Instances at once.
type ProcessUpdate struct {
	GUID         string           `json:"guid"`
	Command      *string          `json:"command,omitempty"`
	Instances    *int             `json:"instances,omitempty"`
	MemoryMB     *int             `json:"memory_mb,omitempty"`
	DiskMB       *int             `json:"disk_mb,omitempty"`
	LogRateBytes *int64           `json:"log_rate_bytes,omitempty"`
	Health       *cf.HealthCheck  `json:"health,omitempty"`
	Readiness    *cf.HealthCheck  `json:"readiness,omitempty"`
	Metadata     cf.MetadataPatch `json:"metadata,omitzero"`
	// Version is the name of the version if the app is started and the
	// process never was.
	Version string `json:"version"`
	// Later leaves a process that never ran to the app's next start: its
	// command may come with the next droplet.
	Later bool      `json:"later,omitempty"`
	At    time.Time `json:"at"`
}

var updateProcess = newAudited("cf.process.update", 1, func(tx *Tx, in ProcessUpdate) (cf.Process, error) {
	p, err := getProcess(tx, in.GUID)
	if err != nil {
		return p, err
	}
	a, err := getApp(tx, p.AppGUID)
	if err != nil {
		return p, err
	}
	was := p
	set(&p.Command, in.Command)
	set(&p.Instances, in.Instances)
	set(&p.MemoryMB, in.MemoryMB)
	set(&p.DiskMB, in.DiskMB)
	set(&p.LogRateBytes, in.LogRateBytes)
	set(&p.Health, in.Health)
	set(&p.Readiness, in.Readiness)
	p.Metadata = p.Patched(in.Metadata)
	p.UpdatedAt = in.At
	if err := checkResize(tx, a, was, p); err != nil {
		return p, err
	}
	if a.State == cf.AppStarted && p.Version == "" && in.Instances != nil && !in.Later {
		d, _ := droplets.get(tx, "id", a.DropletGUID)
		if err := checkCommand(p, d); err != nil {
			return p, err
		}
		if err := newVersion(tx, a, p, in.Version, in.At); err != nil {
			return p, err
		}
		p.Version = in.Version
	}
	processes.put(tx, p)
	return p, nil
})

// UpdateProcess changes or scales a process and returns it.
func (s *Store) UpdateProcess(ctx context.Context, u ProcessUpdate) (cf.Process, error) {
	return updateProcess.do(ctx, s, u)
}

// UpdateProcess is like Store.UpdateProcess.
func (b *Batch) UpdateProcess(u ProcessUpdate) { updateProcess.queue(b, u) }

// NewProcesses is what processes of types that a droplet brings are made
// from: without instances, but for "web".
type NewProcesses struct {
	GUIDs    map[string]string  `json:"guids"` // for each process type of the droplet
	Settings cf.ProcessSettings `json:"settings"`
}

// add makes the processes of a droplet's types that the app lacks.
func (n NewProcesses) add(tx *Tx, d cf.Droplet, at time.Time) error {
	for _, typ := range slices.Sorted(maps.Keys(d.ProcessTypes)) {
		if processes.has(tx, "type", d.AppGUID, typ) {
			continue
		}
		guid, ok := n.GUIDs[typ]
		if !ok {
			return cf.ErrServer.With("There is no GUID for a process of type '%s'.", typ)
		}
		p := cf.Process{
			Resource: cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at},
			AppGUID:  d.AppGUID, Type: typ, ProcessSettings: n.Settings,
		}
		if typ == cf.ProcessWeb {
			p.Instances = 1
		} else {
			p.Health.Type = "process"
		}
		processes.put(tx, p)
	}
	return nil
}
