package test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSystemdUnit holds the agent's unit to what the children's life depends
// on. systemd itself does not run where the tests run.
func TestSystemdUnit(t *testing.T) {
	const unit = "../packer/systemd/stackato-agent.service"
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkUnit(string(text)) {
		t.Errorf("%s: %s", unit, problem)
	}
}

var (
	unitLine = regexp.MustCompile(`^([A-Za-z]+)=(.*)$`)
	// unitNeeds are the settings without which children die with the agent, or
	// the node does not come back.
	unitNeeds = map[string]string{
		"Type": "notify", "KillMode": "process", "Restart": "always", "OOMPolicy": "continue",
		"StartLimitIntervalSec": "0", "Delegate": "yes",
	}
	// mountNamespace are the settings that give a service its own mount table,
	// in which Docker would not see the mounts of Nomad and of the agent.
	mountNamespace = regexp.MustCompile(`^(Private(Tmp|Devices|Mounts|Users)|Protect(System|Home|Kernel\w+|ControlGroups|Proc|Hostname|Clock)|` +
		`(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|TemporaryFileSystem|MountFlags|` +
		`Root(Directory|Image)|DynamicUser|ProcSubset|RestrictNamespaces)$`)
)

// checkUnit returns what is wrong with the text of a unit file.
func checkUnit(text string) []string {
	var problems []string
	set := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		m := unitLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		set[m[1]] = m[2]
		if mountNamespace.MatchString(m[1]) {
			problems = append(problems, fmt.Sprintf("line %d: %s cuts the children off from Docker's mounts or devices", i+1, m[1]))
		}
	}
	for key, want := range unitNeeds {
		if set[key] != want {
			problems = append(problems, fmt.Sprintf("%s is %q, want %q", key, set[key], want))
		}
	}
	if !strings.HasSuffix(set["ExecStart"], "/stackato-agent run") {
		problems = append(problems, fmt.Sprintf("ExecStart is %q, want stackato-agent run", set["ExecStart"]))
	}
	return problems
}

// TestSystemdUnitCanFail shows that each rule is enforced.
func TestSystemdUnitCanFail(t *testing.T) {
	good := "ExecStart=/x/stackato-agent run\n"
	for key, value := range unitNeeds {
		good += key + "=" + value + "\n"
	}
	if p := checkUnit(good); p != nil {
		t.Fatalf("a good unit: %q", p)
	}
	for key, value := range unitNeeds {
		if p := checkUnit(strings.Replace(good, key+"="+value+"\n", "", 1)); len(p) != 1 {
			t.Errorf("without %s: %q", key, p)
		}
	}
	for _, line := range []string{"ExecStart=/x/other run", "PrivateTmp=yes", "ProtectSystem=full", "ReadWritePaths=/var"} {
		if p := checkUnit(good + line); len(p) != 1 {
			t.Errorf("with %s: %q", line, p)
		}
	}
	if p := checkUnit(good + "# PrivateTmp=yes"); p != nil {
		t.Errorf("with a comment: %q", p)
	}
}
