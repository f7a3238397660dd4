package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/stackato/stackato/agent/local"
)

// show prints v as JSON with --json, else what text writes. Both come from
// the same struct.
func (a *app) show(v any, text func(p *printer)) error {
	if a.json {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(withoutNil(v))
	}
	p := &printer{tw: tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0), colours: a.colours(a.out)}
	text(p)
	return p.tw.Flush()
}

// warn prints warnings on standard error; with --json they are in the result.
func (a *app) warn(warnings ...string) {
	if a.json {
		return
	}
	for _, w := range warnings {
		fmt.Fprintf(a.err, "%s %s\n", paint(a.colours(a.err), yellow, "warning:"), clean(w))
	}
}

func (a *app) colours(stream io.Writer) bool {
	_, off := os.LookupEnv("NO_COLOR")
	return !a.noColor && !off && os.Getenv("TERM") != "dumb" && terminal(stream)
}

// printer writes tables and lines for people.
type printer struct {
	tw      *tabwriter.Writer
	colours bool
}

// Codes of colours. All have the same length, and plain cells get a code
// too, so that columns of tabwriter stay straight.
const (
	plain  = "\x1b[39m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// cell is a coloured table cell.
type cell struct{ text, colour string }

// row prints a table row; cells are strings or coloured cells.
func (p *printer) row(cells ...any) {
	out := make([]string, len(cells))
	for i, c := range cells {
		v, ok := c.(cell)
		if !ok {
			v = cell{fmt.Sprint(c), plain}
		}
		out[i] = paint(p.colours, v.colour, orDash(clean(v.text)))
	}
	fmt.Fprintln(p.tw, strings.Join(out, "\t"))
}

// field prints a name and its value; nothing if the value is empty.
func (p *printer) field(name, value string) {
	if value != "" {
		fmt.Fprintf(p.tw, "%s:\t%s\n", name, clean(value))
	}
}

// line prints a line outside any table.
func (p *printer) line(format string, args ...any) {
	fmt.Fprintln(p.tw, clean(fmt.Sprintf(format, args...)))
}

func paint(on bool, colour, s string) string {
	if !on {
		return s
	}
	return colour + s + plain
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clean replaces what could move columns or steer a terminal: texts come
// from other nodes.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// stateCell colours the state of a role or process.
func stateCell(s local.State) cell {
	text := strings.ReplaceAll(string(s), "_", " ")
	switch s {
	case local.StateRunning:
		return cell{text, green}
	case local.StateFailed, local.StateUnknown:
		return cell{text, red}
	case local.StateStarting, local.StateNotInstalled:
		return cell{text, yellow}
	}
	return cell{text, plain}
}

func list[T ~string](names []T) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, " ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// when prints a time, in UTC to the second; "" for the zero time.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// withoutNil returns v with nil lists and maps made empty, so that scripts
// always find [] and {} and never null.
func withoutNil(v any) any {
	in := reflect.ValueOf(v)
	if !in.IsValid() {
		return v
	}
	out := reflect.New(in.Type()).Elem()
	out.Set(in)
	fillNil(out)
	return out.Interface()
}

func fillNil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillNil(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fillNil(f)
			}
		}
	case reflect.Slice:
		if v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fillNil(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}
