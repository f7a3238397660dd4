package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dayToDay are the commands that a developer's day and an organization's
// upkeep are made of. Each must stand in a script.
const dayToDay = `api auth login logout target passwd
orgs org create-org delete-org spaces space create-space delete-space
create-user delete-user set-org-role unset-org-role set-space-role unset-space-role org-users space-users
push apps app start stop restart restage restart-app-instance scale delete rename
env set-env unset-env logs events get-health-check set-health-check
set-droplet droplets packages revisions rollback cancel-deployment
routes create-route check-route map-route unmap-route delete-route
domains create-shared-domain create-private-domain
run-task tasks terminate-task
cups uups bind-service unbind-service services service
buildpacks create-buildpack update-buildpack delete-buildpack stacks
set-label labels curl`

// pushFlags are ways to push.
var pushFlags = []string{
	"--strategy rolling", "--strategy canary", "--no-start", "--no-route", "--random-route", "--task", "--droplet",
}

// cfLine is a line of a script in which cf must succeed.
var cfLine = regexp.MustCompile(`^(?:await '[^']*' |await \S+ |put \S+ (?:\.\S+ )?)?cf (.*)$`)

// TestEveryCommandHasAScript reads the scripts that every test run takes on a
// cluster of one node.
func TestEveryCommandHasAScript(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	must(t, err)
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		all = append(all, cfLines(string(text))...)
	}
	for _, lack := range lacking(all) {
		t.Errorf("no script of testdata/script has: cf %s", lack)
	}
}

// cfLines returns what is given to cf in a script, files that the script brings
// left out.
func cfLines(script string) []string {
	var lines []string
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "-- ") {
			break
		}
		if m := cfLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			lines = append(lines, m[1])
		}
	}
	return lines
}

func lacking(lines []string) []string {
	var lack []string
	for _, command := range strings.Fields(dayToDay) {
		if !slices.ContainsFunc(lines, func(l string) bool { return l == command || strings.HasPrefix(l, command+" ") }) {
			lack = append(lack, command)
		}
	}
	for _, flag := range pushFlags {
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "push ") && strings.Contains(l+" ", " "+flag+" ")
		}) {
			lack = append(lack, "push "+flag)
		}
	}
	return lack
}

// TestCoverageCanFail holds that what is not run does not count.
func TestCoverageCanFail(t *testing.T) {
	lines := cfLines("# cf login\n! cf logout\n  cf orgs\nawait 'x y' cf app a\nput G .guid cf curl /v3\n" +
		"cf push a --task-less\ncf push b --strategy rolling -p app\n-- file --\ncf stacks\n")
	if want := []string{"orgs", "app a", "curl /v3", "push a --task-less", "push b --strategy rolling -p app"}; !slices.Equal(lines, want) {
		t.Errorf("read %q, want %q", lines, want)
	}
	lack := lacking(lines)
	for _, absent := range []string{"login", "logout", "apps", "stacks", "push --task", "push --strategy canary"} {
		if !slices.Contains(lack, absent) {
			t.Errorf("%q is not missed", absent)
		}
	}
	for _, present := range []string{"orgs", "app", "curl", "push", "push --strategy rolling"} {
		if slices.Contains(lack, present) {
			t.Errorf("%q is missed", present)
		}
	}
}
