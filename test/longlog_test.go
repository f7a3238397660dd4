package test

import (
	"regexp"
	"testing"
)

// TestLongRunIsKept holds that docs/test-long.log tells of a run of each test
// that make test leaves out, and that it passed.
func TestLongRunIsKept(t *testing.T) {
	log := readText(t, "docs/test-long.log")
	for _, name := range []string{
		"TestThousandMembers", "TestManyKills", "TestReplaceEveryNode", "TestDeadVoterReplaced",
		"TestGibibyte", "TestLanguages", "TestThreeNodes", "TestFiveNodes", "TestImageComesLate",
	} {
		if !regexp.MustCompile(`(?m)^ +PASS: ` + name + ` `).MatchString(log) {
			t.Errorf("docs/test-long.log has no %s that passed: run make test-long, see CONTRIBUTING.md", name)
		}
	}
}
