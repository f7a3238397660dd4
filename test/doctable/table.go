// Package doctable reads the Markdown tables of docs/ strictly, so that tests
// can compare what is written with what is there. Tests alone import it.
package doctable

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Table is one pipe table of a document.
type Table struct {
	Heading string   // text of the nearest heading above, without its marks
	Columns []string // column names as written
	Rows    []Row
	Line    int // line of the column names, from 1
}

// Row is one row of a table; it has exactly as many cells as the table has
// columns.
type Row struct {
	Cells []string // trimmed, code marks kept
	Line  int      // line in the document, from 1
}

// maxDocument bounds what Read takes, in bytes.
const maxDocument = 4 << 20

// Read returns the tables of a Markdown file in their order. Errors name the
// line.
func Read(path string) ([]Table, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", path, len(data), maxDocument)
	}
	tables, err := Parse(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tables, nil
}

var ruleLine = regexp.MustCompile(`^\|(\s*:?-+:?\s*\|)+$`)

// Parse returns the tables of a Markdown text in their order. It is strict: a
// table without rule line, a row that is not closed by a pipe and a row with
// another number of cells than the table has columns are errors. Fenced code is
// skipped. A cell cannot hold a pipe.
func Parse(text string) ([]Table, error) {
	var (
		tables  []Table
		heading string
		fenced  bool
	)
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced:
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case strings.HasPrefix(line, "|"):
			t, next, err := parseTable(lines, i)
			if err != nil {
				return nil, err
			}
			t.Heading = heading
			tables = append(tables, t)
			i = next - 1
		}
	}
	if fenced {
		return nil, errors.New("fenced code is not closed")
	}
	return tables, nil
}

// parseTable reads the table that begins at lines[start] and returns the index
// of the first line behind it.
func parseTable(lines []string, start int) (Table, int, error) {
	columns, err := cells(lines[start], start+1)
	if err != nil {
		return Table{}, 0, err
	}
	t := Table{Columns: columns, Line: start + 1}
	if start+1 >= len(lines) || !ruleLine.MatchString(strings.TrimSpace(lines[start+1])) {
		return Table{}, 0, fmt.Errorf("line %d: a table's second line must be a rule such as |---|---|", start+2)
	}
	if rule, _ := cells(lines[start+1], start+2); len(rule) != len(columns) {
		return Table{}, 0, fmt.Errorf("line %d: the rule has %d columns, the table %d", start+2, len(rule), len(columns))
	}
	i := start + 2
	for ; i < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[i]), "|"); i++ {
		row, err := cells(lines[i], i+1)
		if err != nil {
			return Table{}, 0, err
		}
		if len(row) != len(columns) {
			return Table{}, 0, fmt.Errorf("line %d: %d cells in a table of %d columns", i+1, len(row), len(columns))
		}
		t.Rows = append(t.Rows, Row{Cells: row, Line: i + 1})
	}
	return t, i, nil
}

func cells(line string, number int) ([]string, error) {
	line = strings.TrimSpace(line)
	inner, closed := strings.CutSuffix(strings.TrimPrefix(line, "|"), "|")
	if !closed || inner == "" {
		return nil, fmt.Errorf("line %d: a table row must end with a pipe", number)
	}
	out := strings.Split(inner, "|")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out, nil
}

// Under returns the one table below the given heading with exactly the given
// columns. None, two, or other columns are an error.
func Under(tables []Table, heading string, columns ...string) (Table, error) {
	var found []Table
	for _, t := range tables {
		if t.Heading == heading {
			found = append(found, t)
		}
	}
	if len(found) != 1 {
		return Table{}, fmt.Errorf("want one table below %q, found %d", heading, len(found))
	}
	if !slices.Equal(found[0].Columns, columns) {
		return Table{}, fmt.Errorf("line %d: the columns below %q are %q, want %q",
			found[0].Line, heading, found[0].Columns, columns)
	}
	return found[0], nil
}
