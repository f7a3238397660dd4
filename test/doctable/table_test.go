package doctable

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	text := strings.Join([]string{
		"# One", "", "| a | b |", "|---|:-:|", "| 1 | `x` |", "| 2 |  |", "",
		"```", "| no | table", "```", "## Two", "|c|", "|-|",
	}, "\n")
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []Table{
		{Heading: "One", Columns: []string{"a", "b"}, Line: 3, Rows: []Row{
			{Cells: []string{"1", "`x`"}, Line: 5},
			{Cells: []string{"2", ""}, Line: 6},
		}},
		{Heading: "Two", Columns: []string{"c"}, Line: 12},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no rule", "| a |\n| 1 |", "line 2: a table's second line must be a rule"},
		{"nothing behind", "| a |", "line 2: a table's second line must be a rule"},
		{"short rule", "| a | b |\n|---|", "line 2: the rule has 1 columns, the table 2"},
		{"open row", "| a |\n|---|\n| 1", "line 3: a table row must end with a pipe"},
		{"long row", "| a |\n|---|\n| 1 | 2 |", "line 3: 2 cells in a table of 1 columns"},
		{"open fence", "```\n| a |", "fenced code is not closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestUnder(t *testing.T) {
	tables, err := Parse("# A\n| x |\n|---|\n# B\n| x |\n|---|\n\n| x |\n|---|\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Under(tables, "A", "x"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"other columns": second(Under(tables, "A", "y")),
		"two tables":    second(Under(tables, "B", "x")),
		"no table":      second(Under(tables, "C", "x")),
	} {
		if err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func second(_ Table, err error) error { return err }
