package doctable

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const nodeText = `## Ports
| port | protocol | owner | bind | on | who may connect | authenticated by |
|---|---|---|---|---|---|---|
| 7301 | tcp, udp | gossip | node address | every node | members | key ring |
| 20000-32000 | tcp | apps | node address | later | routers | firewall |
## Sockets
| path | owner | mode | on | who may connect | authenticated by |
|---|---|---|---|---|---|
| /run/a.sock | root:g | 0660 | voters | root | permissions |
## Directories and files
| path | owner | mode | on | what it is | may be deleted |
|---|---|---|---|---|---|
| /var/a | root | 0700 | controllers | data | no |
`

func TestParseNode(t *testing.T) {
	tables, err := Parse(nodeText)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseNode(tables)
	if err != nil {
		t.Fatal(err)
	}
	want := Node{
		Ports: []Port{
			{7301, 7301, []string{"tcp", "udp"}, "gossip", BindNode, OnEvery, "members", "key ring"},
			{20000, 32000, []string{"tcp"}, "apps", BindNode, OnLater, "routers", "firewall"},
		},
		Sockets: []File{{"/run/a.sock", "root:g", 0o660, OnVoters, "permissions"}},
		Files:   []File{{"/var/a", "root", 0o700, OnControllers, "no"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseNodeRefuses(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"port", "| 7301 |", "| gossip |", `line 4: port "gossip": want a number`},
		{"port 0", "| 7301 |", "| 0 |", "want a number"},
		{"range", "20000-32000", "32000-20000", "range 32000-20000 is empty"},
		{"protocol", "tcp, udp", "tcp+udp", "want tcp, udp or both"},
		{"bind", "node address | every", "0.0.0.0 | every", `bind "0.0.0.0"`},
		{"on", "every node", "all nodes", `on "all nodes"`},
		{"empty cell", "key ring", "", "a cell is empty"},
		{"overlap", "| 7301 |", "| 20001 |", "line 5: port 20000-32000 overlaps with that of gossip"},
		{"mode", "0700", "rwx------", "want four octal digits"},
		{"short mode", "0700", "700", "want four octal digits"},
		{"relative path", "/var/a", "var/a", "want an absolute one"},
		{"slash", "/var/a", "/var/a/", "want an absolute one"},
		{"column", "who may connect | authenticated by |\n|---|---|---|---|---|---|---|", "who | authenticated by |\n|---|---|---|---|---|---|---|", "the columns below"},
		{"heading", "## Sockets", "## Pipes", `want one table below "Sockets"`},
		{"twice", "| /var/a |", "| /var/b | root | 0700 | voters | data | no |\n| /var/b |", "/var/b stands there twice"},
		{"more tables", "", "", "found 4 tables"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(nodeText, tt.old, tt.new, 1)
			if tt.name == "more tables" {
				text = nodeText + "## More\n| a |\n|---|\n"
			}
			tables, err := Parse(text)
			if err == nil {
				_, err = parseNode(tables)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
