package jobs

import "strings"

// Kinds of jobs, as they stand in the label LabelKind of a container.
const (
	KindApp     = "app"
	KindTask    = "task"
	KindStaging = "staging"
)

// Labels of a container. None is secret.
const (
	LabelKind    = "stackato.kind"
	LabelApp     = "stackato.app"     // app GUID
	LabelProcess = "stackato.process" // GUID of the process, task or build
	LabelType    = "stackato.type"    // process type
	LabelVersion = "stackato.version" // of the process
)

// Group and TaskName are the names of the only group and the only task of
// every job.
const (
	Group    = "instance"
	TaskName = "app"
)

// AppID is the job of one version of a process.
func AppID(process, version string) string { return "app-" + process + "-" + version }

// TaskID is the job of a task.
func TaskID(task string) string { return "task-" + task }

// StagingID is the job of a build.
func StagingID(build string) string { return "staging-" + build }

// guidLen is the length of a GUID in text.
const guidLen = 36

// Parse takes the id of a job apart; guid is that of the process, task or
// build, version is "" but for an app's job. ok is false for a job that this
// package did not name.
func Parse(id string) (kind, guid, version string, ok bool) {
	kind, rest, _ := strings.Cut(id, "-")
	if len(rest) < guidLen {
		return "", "", "", false
	}
	guid, rest = rest[:guidLen], rest[guidLen:]
	switch {
	case kind == KindApp && len(rest) > 1 && rest[0] == '-':
		return kind, guid, rest[1:], true
	case (kind == KindTask || kind == KindStaging) && rest == "":
		return kind, guid, "", true
	}
	return "", "", "", false
}
