package doctable

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The words that the columns of ports-and-files.md may hold.
const (
	BindNode  = "node address"  // the address the node was given
	BindLocal = "127.0.0.1"     // this machine alone
	BindAny   = "every address" // all addresses of the machine
	BindNames = "169.254.53.53" // the resolver of containers, on every dea node

	OnEvery       = "every node"
	OnControllers = "controllers"
	OnVoters      = "voters"
	OnNomad       = "Nomad nodes" // voters and dea nodes
	OnDEA         = "dea nodes"   // with the dea role or a data-service role
	OnRouters     = "routers"     // with the router role; controllers have it, too
	OnLater       = "later"       // reserved: nothing is there yet
)

var (
	binds     = []string{BindNode, BindLocal, BindAny, BindNames}
	places    = []string{OnEvery, OnControllers, OnVoters, OnNomad, OnDEA, OnRouters, OnLater}
	protocols = []string{"tcp", "udp"}
)

// Node is the content of docs/operator/ports-and-files.md.
type Node struct {
	Ports   []Port
	Sockets []File
	Files   []File
}

// Port is a port, or a range of ports, that a node listens on.
type Port struct {
	First, Last   int      // equal for a single port
	Protocols     []string // "tcp", "udp"
	Owner         string
	Bind          string // one of the Bind constants
	On            string // one of the On constants
	From          string // who may connect
	Authenticated string
}

// File is a file, directory or socket of a node.
type File struct {
	Path  string // absolute
	Owner string // user, or user:group
	Mode  fs.FileMode
	On    string // one of the On constants
	// Remark is the row's last cell: how a socket authenticates its callers, or
	// whether a file may be deleted.
	Remark string
}

// ReadNode reads docs/operator/ports-and-files.md. Errors name the line; a
// word that a column does not know, a port or path that stands there twice, and
// an empty cell are errors.
func ReadNode(file string) (Node, error) {
	tables, err := Read(file)
	if err != nil {
		return Node{}, err
	}
	n, err := parseNode(tables)
	if err != nil {
		return Node{}, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

func parseNode(tables []Table) (Node, error) {
	if len(tables) != 3 {
		return Node{}, fmt.Errorf("want the tables of ports, of sockets and of files, found %d tables", len(tables))
	}
	var n Node
	t, err := Under(tables, "Ports", "port", "protocol", "owner", "bind", "on", "who may connect", "authenticated by")
	if err != nil {
		return Node{}, err
	}
	if n.Ports, err = parsePorts(t); err != nil {
		return Node{}, err
	}
	t, err = Under(tables, "Sockets", "path", "owner", "mode", "on", "who may connect", "authenticated by")
	if err != nil {
		return Node{}, err
	}
	if n.Sockets, err = parseFiles(t); err != nil {
		return Node{}, err
	}
	t, err = Under(tables, "Directories and files", "path", "owner", "mode", "on", "what it is", "may be deleted")
	if err != nil {
		return Node{}, err
	}
	n.Files, err = parseFiles(t)
	return n, err
}

func parsePorts(t Table) ([]Port, error) {
	var out []Port
	for _, row := range t.Rows {
		p, err := parsePort(row.Cells)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", row.Line, err)
		}
		for _, other := range out {
			if p.overlaps(other) {
				return nil, fmt.Errorf("line %d: port %s overlaps with that of %s", row.Line, row.Cells[0], other.Owner)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func parsePort(cells []string) (Port, error) {
	if slices.Contains(cells, "") {
		return Port{}, fmt.Errorf("a cell is empty")
	}
	p := Port{Owner: cells[2], Bind: cells[3], On: cells[4], From: cells[5], Authenticated: cells[6]}
	first, last, ranged := strings.Cut(cells[0], "-")
	if !ranged {
		last = first
	}
	var err error
	if p.First, err = portNumber(first); err != nil {
		return Port{}, err
	}
	if p.Last, err = portNumber(last); err != nil {
		return Port{}, err
	}
	if ranged && p.Last <= p.First {
		return Port{}, fmt.Errorf("port range %s is empty", cells[0])
	}
	for proto := range strings.SplitSeq(cells[1], ", ") {
		if !slices.Contains(protocols, proto) || slices.Contains(p.Protocols, proto) {
			return Port{}, fmt.Errorf("protocol %q: want tcp, udp or both", cells[1])
		}
		p.Protocols = append(p.Protocols, proto)
	}
	if !slices.Contains(binds, p.Bind) {
		return Port{}, fmt.Errorf("bind %q: want one of %q", p.Bind, binds)
	}
	return p, checkPlace(p.On)
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q: want a number from 1 to 65535", s)
	}
	return int(n), nil
}

func checkPlace(on string) error {
	if !slices.Contains(places, on) {
		return fmt.Errorf("on %q: want one of %q", on, places)
	}
	return nil
}

func (p Port) overlaps(q Port) bool {
	shared := slices.ContainsFunc(p.Protocols, func(s string) bool { return slices.Contains(q.Protocols, s) })
	return shared && p.First <= q.Last && q.First <= p.Last
}

func parseFiles(t Table) ([]File, error) {
	var out []File
	for _, row := range t.Rows {
		f, err := parseFile(row.Cells)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", row.Line, err)
		}
		if slices.ContainsFunc(out, func(o File) bool { return o.Path == f.Path }) {
			return nil, fmt.Errorf("line %d: %s stands there twice", row.Line, f.Path)
		}
		out = append(out, f)
	}
	return out, nil
}

func parseFile(cells []string) (File, error) {
	if slices.Contains(cells, "") {
		return File{}, fmt.Errorf("a cell is empty")
	}
	f := File{Path: cells[0], Owner: cells[1], On: cells[3], Remark: cells[5]}
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
		return File{}, fmt.Errorf("path %q: want an absolute one without a slash at its end", f.Path)
	}
	mode, err := strconv.ParseUint(cells[2], 8, 32)
	if err != nil || len(cells[2]) != 4 || mode > 0o777 {
		return File{}, fmt.Errorf("mode %q: want four octal digits such as 0700", cells[2])
	}
	f.Mode = fs.FileMode(mode)
	return f, checkPlace(f.On)
}
