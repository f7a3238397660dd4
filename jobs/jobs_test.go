package jobs

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/nomad/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	appGUID     = "0b9bb3ae-0f3b-4f33-9a3c-3ef9b0ac0001"
	processGUID = "0b9bb3ae-0f3b-4f33-9a3c-3ef9b0ac0002"
	taskGUID    = "0b9bb3ae-0f3b-4f33-9a3c-3ef9b0ac0003"
	buildGUID   = "0b9bb3ae-0f3b-4f33-9a3c-3ef9b0ac0004"
	image       = "stackato/stack:0123456789ab"
)

func web() Process {
	return Process{
		App: appGUID, GUID: processGUID, Type: "web", Version: "7", Instances: 3,
		Size: Size{MemoryMB: 256, DiskMB: 1024}, Image: image,
	}
}

func TestGolden(t *testing.T) {
	zoned := web()
	zoned.Placement = Placement{Zone: "gold-plated", Stack: image}
	tiny := web()
	tiny.Instances, tiny.Size = 0, Size{MemoryMB: 4, DiskMB: 1}
	for name, job := range map[string]*api.Job{
		"app":      App(web()),
		"app-zone": App(zoned),
		"app-tiny": App(tiny),
		"task":     Task(AppTask{App: appGUID, GUID: taskGUID, Name: "migrate ${node.unique.name}", Size: Size{MemoryMB: 64, DiskMB: 128}, Image: image}),
		"staging": Staging(Build{
			App: appGUID, GUID: buildGUID, Size: Size{MemoryMB: 1024, DiskMB: 4096}, Image: image,
			Placement: Placement{Stack: image},
		}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(job, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("job differs from %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// What a job asks for is read from the job again, to explain why it has no place.
func TestZoneAndImage(t *testing.T) {
	zoned := web()
	zoned.Placement.Zone = "gold-plated"
	for want, job := range map[string]*api.Job{"gold-plated": App(zoned), DefaultZone: App(web()), "": {}} {
		if got := Zone(job); got != want {
			t.Errorf("zone %q, want %q", got, want)
		}
	}
	if got := Image(App(web())); got != image {
		t.Errorf("image %q", got)
	}
}

// A job is seen by whoever may read Nomad's state: nothing but these may say
// what runs.
func TestNothingOfTheAppInTheJob(t *testing.T) {
	j := App(web())
	task := j.TaskGroups[0].Tasks[0]
	if len(task.Env) > 0 || len(task.Templates) > 0 || len(task.Meta) > 0 || len(task.Artifacts) > 0 {
		t.Errorf("task carries %v %v %v %v", task.Env, task.Templates, task.Meta, task.Artifacts)
	}
	if len(j.Meta) > 0 {
		t.Errorf("job metadata %v: a change of it would replace every instance", j.Meta)
	}
	keys := []string{
		"cap_add", "cap_drop", "dns_servers", "entrypoint", "image", "labels", "logging", "pids_limit", "ports", "security_opt", "ulimit",
	}
	var got []string
	for k := range task.Config {
		got = append(got, k)
	}
	slices.Sort(got)
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Errorf("driver configuration (-want +got):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	for id, want := range map[string][3]string{
		AppID(processGUID, "12"):             {KindApp, processGUID, "12"},
		AppID(processGUID, "a-b"):            {KindApp, processGUID, "a-b"},
		TaskID(taskGUID):                     {KindTask, taskGUID, ""},
		StagingID(buildGUID):                 {KindStaging, buildGUID, ""},
		"app-" + processGUID:                 {},
		"app-" + processGUID + "-":           {},
		"task-" + taskGUID + "-1":            {},
		"staging-" + buildGUID[:30]:          {},
		"redis":                              {},
		"":                                   {},
		"other-" + processGUID + "-1":        {},
		"app_" + processGUID + "-1":          {},
		strings.Repeat("-", guidLen+guidLen): {},
	} {
		kind, guid, version, ok := Parse(id)
		if got := [3]string{kind, guid, version}; got != want || ok != (want[0] != "") {
			t.Errorf("Parse(%q) = %v, %v, want %v", id, got, ok, want)
		}
	}
}

func TestScaleChangesTheCountOnly(t *testing.T) {
	j, want := App(web()), App(web())
	Scale(j, 9)
	if Count(j) != 9 {
		t.Errorf("count %d, want 9", Count(j))
	}
	want.TaskGroups[0].Count = ptr(9)
	if diff := cmp.Diff(want, j); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
}

func TestShares(t *testing.T) {
	for mb, want := range map[int]int{0: 8, 64: 8, 128: 16, 1024: 128, 8192: 1024, 65536: 1024} {
		if got := shares(mb); got != want {
			t.Errorf("shares(%d) = %d, want %d", mb, got, want)
		}
	}
}

// Nomad would replace what looks like one of its variables.
func TestNamesStayWhatTheyAre(t *testing.T) {
	p := web()
	p.Type = "${node.unique.id}"
	for _, j := range []*api.Job{App(p), Task(AppTask{GUID: taskGUID, Name: p.Type})} {
		labels := j.TaskGroups[0].Tasks[0].Config["labels"].([]map[string]string)[0]
		if got := labels[LabelType]; got != "_{node.unique.id}" {
			t.Errorf("label %q", got)
		}
	}
}
