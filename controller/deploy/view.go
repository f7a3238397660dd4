package deploy

import "github.com/stackato/stackato/jobs"

// Prefixes of the ids of jobs.
const (
	prefixApp     = jobs.KindApp + "-"
	prefixTask    = jobs.KindTask + "-"
	prefixStaging = jobs.KindStaging + "-"
)

// prefixes are listed one by one: other jobs in the cluster are not ours.
var prefixes = []string{prefixApp, prefixTask, prefixStaging}

// view is what is known of the jobs in Nomad: the last list, and our own
// writes since. It belongs to one goroutine.
type view struct {
	jobs map[string]Job
	// process holds the versions of each process that have a job.
	process map[string]map[string]bool
	listed  map[string]bool // prefixes that were listed at least once
}

func newView() *view {
	return &view{jobs: map[string]Job{}, process: map[string]map[string]bool{}, listed: map[string]bool{}}
}

// complete reports whether every prefix was listed.
func (v *view) complete() bool { return len(v.listed) == len(prefixes) }

// replace takes over a list as of index, and reports whether it says anything
// new. What we wrote later stays.
func (v *view) replace(prefix string, list []Job, index uint64) (changed bool) {
	changed = !v.listed[prefix]
	v.listed[prefix] = true
	seen := make(map[string]bool, len(list))
	for _, j := range list {
		seen[j.ID] = true
		if old, ok := v.jobs[j.ID]; !ok || old.Index <= j.Index && old != j {
			v.put(j)
			changed = true
		}
	}
	for id, j := range v.jobs {
		if len(id) > len(prefix) && id[:len(prefix)] == prefix && !seen[id] && j.Index <= index {
			v.remove(id)
			changed = true
		}
	}
	return changed
}

func (v *view) put(j Job) {
	kind, process, version, ok := jobs.Parse(j.ID)
	if !ok {
		return // not ours
	}
	v.jobs[j.ID] = j
	if kind != jobs.KindApp {
		return
	}
	if v.process[process] == nil {
		v.process[process] = map[string]bool{}
	}
	v.process[process][version] = true
}

func (v *view) remove(id string) {
	delete(v.jobs, id)
	if kind, process, version, _ := jobs.Parse(id); kind == jobs.KindApp {
		delete(v.process[process], version)
		if len(v.process[process]) == 0 {
			delete(v.process, process)
		}
	}
}

// count is how many instances the job of a version asks for; a job that was
// stopped asks for none.
func (v *view) count(process, version string) int {
	j := v.jobs[jobs.AppID(process, version)]
	if j.Stopped {
		return 0
	}
	return j.Count
}
