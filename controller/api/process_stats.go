package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
)

func tooMuchDisk(limit int) string {
	return fmt.Sprintf("Disk in mb must be at most %d", limit)
}

// indexes returns one status for each index of a process that there should
// be.
func indexes(r *request, p cf.Process, all []instance.Status) []instance.Status {
	out := make([]instance.Status, p.Instances)
	for i := range out {
		out[i] = instance.Status{Index: i, State: instance.Down, ProcessGUID: p.GUID, ProcessType: p.Type}
	}
	a, _ := r.view.App(p.AppGUID)
	if a.State != cf.AppStarted {
		return out
	}
	wanted := map[string]int{p.Version: 1}
	if d, active := r.view.ActiveDeployment(p.AppGUID); active && d.ProcessGUID == p.GUID {
		wanted[d.NewVersion] = 2
	}
	fillIndexes(out, all, wanted)
	return out
}

// fillIndexes gives each index, of several instances of the wanted versions,
// the one that says most; of two that say the same that of the version with
// the higher number. Versions have indexes of their own: while there are two
// of them an index without an instance stands for one that another has too
// many.
func fillIndexes(out, all []instance.Status, wanted map[string]int) {
	var spare []instance.Status
	for _, s := range all {
		if s.Index < 0 || s.Index >= len(out) || wanted[s.Version] == 0 || rank(s.State) == 0 {
			continue
		}
		is, was := rank(s.State)*4+wanted[s.Version], rank(out[s.Index].State)*4+wanted[out[s.Index].Version]
		if is > was || is == was && s.Since.After(out[s.Index].Since) {
			s, out[s.Index] = out[s.Index], s
		}
		if s.State == instance.Running {
			spare = append(spare, s)
		}
	}
	for i := range out {
		if len(wanted) > 1 && len(spare) > 0 && out[i].State == instance.Down {
			out[i], spare = spare[0], spare[1:]
			out[i].Index = i
		}
	}
}

// rank orders states by how much they say; 0 is not shown.
func rank(s instance.State) int {
	return slices.Index([]instance.State{instance.Gone, instance.Down, instance.Crashed, instance.Starting, instance.Stopping, instance.Running}, s)
}

// shownState is a state as Cloud Foundry's clients know it.
func shownState(s instance.State) string {
	if s == instance.Stopping {
		return "STOPPING"
	}
	return string(s)
}

type processIndexState struct {
	Index int    `json:"index"`
	State string `json:"state"`
	Since int64  `json:"since"` // seconds in this state
}

func indexStates(r *request, p cf.Process) []processIndexState {
	out := []processIndexState{}
	for _, s := range indexes(r, p, r.api.instancesOf(p.GUID)) {
		since := int64(0)
		if !s.Since.IsZero() {
			since = max(0, int64(r.api.Now().Sub(s.Since).Seconds()))
		}
		out = append(out, processIndexState{s.Index, shownState(s.State), since})
	}
	return out
}

func (a *API) instancesOf(processGUID string) []instance.Status {
	if a.Instances == nil {
		return nil
	}
	return a.Instances.OfProcess(processGUID)
}

func listProcessInstances(r *request) (response, error) {
	p, _, err := r.process(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	states := indexStates(r, p)
	out := page{Pagination: paginate(r, len(states), 1, max(50, len(states))), Resources: []any{}}
	for _, s := range states {
		out.Resources = append(out.Resources, s)
	}
	return ok(out)
}

type statJSON struct {
	Type             string     `json:"type"`
	Index            int        `json:"index"`
	InstanceGUID     string     `json:"instance_guid,omitempty"`
	State            string     `json:"state"`
	Routable         *bool      `json:"routable"`
	Usage            *usageJSON `json:"usage,omitempty"`
	Host             *string    `json:"host"`
	InstancePorts    []portJSON `json:"instance_ports"`
	Uptime           int64      `json:"uptime"`
	MemQuota         int64      `json:"mem_quota"`
	DiskQuota        int64      `json:"disk_quota"`
	LogRateLimit     int64      `json:"log_rate_limit"`
	FDSQuota         int        `json:"fds_quota"`
	IsolationSegment *string    `json:"isolation_segment"`
	Details          *string    `json:"details"`
}

type usageJSON struct {
	Time    string  `json:"time"`
	CPU     float64 `json:"cpu"`
	Mem     int64   `json:"mem"`
	Disk    int64   `json:"disk"`
	LogRate int64   `json:"log_rate"`
}

type portJSON struct {
	External int `json:"external"`
	Internal int `json:"internal"`
}

func getProcessStats(r *request) (response, error) {
	p, _, err := r.process(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	var all []instance.Status
	if r.api.Instances != nil {
		all = r.api.Instances.Measure(r.Context(), p.GUID)
	}
	out := struct {
		Resources []statJSON `json:"resources"`
	}{[]statJSON{}}
	states := indexes(r, p, all)
	r.explain(p, states)
	for _, s := range states {
		out.Resources = append(out.Resources, presentStat(r, p, s))
	}
	return ok(out)
}

// explainWithin bounds asking why an instance is nowhere.
const explainWithin = time.Second

// explain gives instances that no node has the reason, if there is one.
func (r *request) explain(p cf.Process, states []instance.Status) {
	nowhere := func(s instance.Status) bool { return s.State == instance.Down && s.Reason == "" }
	a, _ := r.view.App(p.AppGUID)
	if r.api.Unplaced == nil || a.State != cf.AppStarted || !slices.ContainsFunc(states, nowhere) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainWithin)
	defer cancel()
	why, err := r.api.Unplaced(ctx, p.GUID, p.Version)
	if err != nil {
		return // it is shown as down without a reason
	}
	for i := range states {
		if nowhere(states[i]) {
			states[i].Reason = why
		}
	}
}

func presentStat(r *request, p cf.Process, s instance.Status) statJSON {
	out := statJSON{
		Type: p.Type, Index: s.Index, InstanceGUID: s.AllocID, State: shownState(s.State), InstancePorts: []portJSON{},
		Details: orNull(s.Reason), FDSQuota: cf.OpenFiles,
		MemQuota: int64(p.MemoryMB) << 20, DiskQuota: int64(p.DiskMB) << 20, LogRateLimit: p.LogRateBytes,
	}
	if pv, found := r.view.ProcessVersion(p.GUID, s.Version); found {
		out.MemQuota, out.DiskQuota, out.LogRateLimit = int64(pv.MemoryMB)<<20, int64(pv.DiskMB)<<20, pv.LogRateBytes
	}
	if s.State == instance.Down {
		return out
	}
	now := r.api.Now()
	since := s.Since
	if s.State == instance.Running && !s.Started.IsZero() {
		since = s.Started
	}
	if !since.IsZero() {
		out.Uptime = max(0, int64(now.Sub(since).Seconds()))
	}
	ready := s.Ready
	out.Routable = &ready
	if host, port, found := strings.Cut(s.Address, ":"); found {
		out.Host = &host
		if n, err := strconv.Atoi(port); err == nil {
			out.InstancePorts = append(out.InstancePorts, portJSON{n, 8080})
		}
	}
	out.Usage = &usageJSON{
		Time: stamp(now), CPU: s.Usage.CPU, Mem: s.Usage.MemBytes, Disk: s.Usage.DiskByte, LogRate: s.Usage.LogRate,
	}
	return out
}

func restartInstance(r *request) (response, error) {
	p, a, err := r.process(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	index, err := strconv.Atoi(r.PathValue("index"))
	if err != nil || index < 0 || index >= p.Instances {
		return response{}, cf.ErrNotFound.With("Instance not found")
	}
	s := indexes(r, p, r.api.instancesOf(p.GUID))[index]
	if s.AllocID == "" {
		return response{}, cf.ErrNotFound.With("Instance not found")
	}
	if err := r.api.Instances.Restart(r.Context(), s.AllocID); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Terminating process: \"%s\" with instance id: %d", p.Type, index)
	e := r.event("audit.app.process.terminate_instance", appParty(a), a.SpaceGUID, map[string]any{"process_type": p.Type, "process_index": index})
	if err := r.store().RecordEvent(r.Context(), e); err != nil {
		return response{}, err
	}
	return noContent()
}
