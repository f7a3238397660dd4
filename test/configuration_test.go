package test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/test/doctable"
)

// TestConfigurationIsDocumented holds docs/operator/configuration.md to the
// fields of the agent's configuration and their defaults.
func TestConfigurationIsDocumented(t *testing.T) {
	tables, err := doctable.Read("../docs/operator/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	var documented []string
	for _, row := range tables[0].Rows {
		name := strings.Trim(row.Cells[0], "`")
		rows[name] = row.Cells
		documented = append(documented, name)
	}
	defaults := map[string]string{}
	fieldsOf("", reflect.ValueOf(agent.DefaultConfig()), defaults)
	var fields []string
	for name, value := range defaults {
		fields = append(fields, name)
		row := rows[name]
		if row == nil {
			continue
		}
		if value != "" && row[1] != value {
			t.Errorf("%s: the default is %q, not %q", name, value, row[1])
		}
		if len(row[3]) < 10 {
			t.Errorf("%s: says nothing: %q", name, row[3])
		}
	}
	slices.Sort(fields)
	slices.Sort(documented)
	if !slices.Equal(fields, documented) {
		t.Errorf("fields are %q, documented are %q", fields, documented)
	}
	for name, row := range rows {
		if name == "children" || name == "clock_offset" || name == "timing" || name == "log_level" || strings.HasPrefix(name, "ports.") {
			continue // not any text will do
		}
		value := map[bool]string{true: "10.1.2.3", false: "/x"}[name == "advertise"]
		if name == "name" || name == "zone" {
			value = "x"
		}
		c, err := agent.LoadConfig("", []string{row[2] + "=" + value})
		got := map[string]string{}
		fieldsOf("", reflect.ValueOf(c), got)
		if err != nil || got[name] != value {
			t.Errorf("%s=%s sets %s to %q, %v", row[2], value, name, got[name], err)
		}
	}
}

// fieldsOf collects the fields of a configuration by the names that they have
// in the file, as text; "" for an empty text.
func fieldsOf(prefix string, v reflect.Value, into map[string]string) {
	for i := range v.NumField() {
		name := prefix + v.Type().Field(i).Tag.Get("yaml")
		if f := v.Field(i); f.Kind() == reflect.Struct {
			fieldsOf(name+".", f, into)
		} else if f.Type().String() == "time.Duration" {
			into[name] = fmt.Sprint(f.Int())
		} else {
			into[name] = fmt.Sprint(f.Interface())
		}
	}
}
