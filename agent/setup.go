package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Setup makes a machine a node: the first of a cluster, or a member. It only
// writes files; the daemon, running or started later, takes over from them.
// The caller holds the data directory's lock.
type Setup struct {
	cfg    Config
	store  store
	groups func() (node.Groups, error)
}

// NewSetup returns the set-up of the machine with the given configuration.
func NewSetup(cfg Config) *Setup {
	return &Setup{cfg: cfg, store: store{cfg}, groups: func() (node.Groups, error) { return readGroups(cfg.RoleGroups) }}
}

// newNode fills in a node record from a request and the defaults.
func (s *Setup) newNode(name, advertise, zone string, roles []string) (node.Node, error) {
	n := node.Node{
		ID: node.NewID(), Name: first(name, s.cfg.Name, hostName()), Address: first(advertise, s.cfg.Advertise),
		RPCPort: s.cfg.Ports.RPC, GossipPort: s.cfg.Ports.Gossip, Zone: first(zone, s.cfg.Zone),
		PlacementZones: []string{}, Version: buildinfo.Version, Generation: 1,
	}
	if n.Address == "" {
		addr, err := ownAddress()
		if err != nil {
			return n, err
		}
		n.Address = addr
	}
	addr, err := node.CheckAddress(n.Address)
	if err != nil {
		return n, rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	n.Address = addr.String()
	if err := node.CheckName(n.Name); err != nil {
		return n, rpcerr.New(rpcerr.Invalid, "%v", err).WithHint("give another with --name")
	}
	if err := node.CheckZone(n.Zone); err != nil {
		return n, rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	if len(roles) > 0 {
		groups, err := s.groups()
		if err != nil {
			return n, err
		}
		if n.Roles, err = groups.Resolve(roles...); err != nil {
			return n, rpcerr.New(rpcerr.NotFound, "%v", err)
		}
	}
	return n, nil
}

// Init makes the machine the first node of a new cluster.
func (s *Setup) Init(_ context.Context, r local.InitRequest, progress local.Progress) (local.InitResult, error) {
	if err := s.store.refuseExisting(); err != nil {
		return local.InitResult{}, err
	}
	n, err := s.newNode(r.Name, r.Advertise, r.Zone, r.Roles)
	if err != nil {
		return local.InitResult{}, err
	}
	n.Roles = n.Roles.With(node.NewRoleSet(node.Controller))
	if r.Micro && len(r.Roles) == 0 {
		n.Roles = node.BuiltinGroups()["micro"]
	}
	n.Roles = n.Roles.Normalize()
	if err := node.CheckRoles(n.Roles); err != nil {
		return local.InitResult{}, rpcerr.New(rpcerr.Precondition, "%v", err)
	}
	if r.NoStart {
		n.StoppedRoles = n.Roles.Without(node.NewRoleSet(node.Base, node.Controller))
	}
	step := stepper(progress)
	step("make the cluster's keys and certificates")
	fresh, err := cluster.Found(n, first(r.Domain, "stackato.localhost"), r.Micro, s.cfg.Now())
	if err != nil {
		return local.InitResult{}, err
	}
	step("write the node's files")
	if err := s.saveNewCluster(fresh); err != nil {
		return local.InitResult{}, s.undo(err)
	}
	step("")
	return local.InitResult{
		ClusterID: fresh.Founding.Record.ClusterID, Node: n.Name,
		Admin:     &local.Credentials{Username: fresh.Founding.Admin.Username, Password: fresh.Password},
		AdminFile: s.cfg.adminFile(), Warnings: notInstalledWarnings(n.Roles),
	}, nil
}

// saveNewCluster writes the files of a first node; the identity comes last:
// it is what makes the machine configured.
func (s *Setup) saveNewCluster(c *cluster.NewCluster) error {
	if err := s.store.makeDirs(); err != nil {
		return err
	}
	if err := c.Ring.SaveFile(s.cfg.ringFile()); err != nil {
		return err
	}
	if err := writeJSON(s.cfg.foundingFile(), c.Founding); err != nil {
		return err
	}
	if err := atomicfile.Write(s.cfg.keyFile(), c.Key, 0o600); err != nil {
		return err
	}
	a, err := cluster.FirstAssignment(c)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("username: %s\npassword: %s\n", c.Founding.Admin.Username, c.Password)
	if err := atomicfile.Write(s.cfg.adminFile(), []byte(text), 0o600); err != nil {
		return err
	}
	return s.saveMember(c.Certificate, a)
}

// saveMember writes what makes the machine a member.
func (s *Setup) saveMember(cert []byte, a cluster.Assignment) error {
	if err := s.store.saveCertificate(cert); err != nil {
		return err
	}
	if err := s.store.saveAssignment(a); err != nil {
		return err
	}
	return writeJSON(s.cfg.identityFile(), identity{ID: a.Self.ID, Name: a.Self.Name, ClusterID: a.ClusterID, Since: s.cfg.Now()})
}

// undo removes what a failed set-up has written.
func (s *Setup) undo(cause error) error {
	if err := s.store.wipe(); err != nil {
		return fmt.Errorf("%w (and the clean-up failed: %w)", cause, err)
	}
	return cause
}

// Join makes the machine a member of the cluster that one of r.Primaries
// belongs to. Nothing is kept when it fails.
func (s *Setup) Join(ctx context.Context, r local.JoinRequest, progress local.Progress) (local.JoinResult, error) {
	if err := s.store.refuseExisting(); err != nil {
		return local.JoinResult{}, err
	}
	secret, err := cluster.ParseJoinSecret(r.Token)
	if err != nil {
		return local.JoinResult{}, err
	}
	n, err := s.newNode(r.Name, r.Advertise, r.Zone, r.Roles)
	if err != nil {
		return local.JoinResult{}, err
	}
	n.Roles = n.Roles.Normalize()
	if r.NoStart {
		n.StoppedRoles = n.Roles.Without(node.NewRoleSet(node.Base, node.Controller))
	}
	if err := node.CheckRoles(n.Roles); err != nil {
		return local.JoinResult{}, rpcerr.New(rpcerr.Precondition, "%v", err)
	}
	key, err := pki.NewKey()
	if err != nil {
		return local.JoinResult{}, err
	}
	step := stepper(progress)
	step("find a controller")
	addrs, err := resolvePrimaries(ctx, r.Primaries, s.cfg.Ports.RPC)
	if err != nil {
		return local.JoinResult{}, err
	}
	step("ask to join")
	resp, err := s.requestJoin(ctx, addrs, secret, n, key)
	if err != nil {
		return local.JoinResult{}, err
	}
	step("write the node's files")
	if err := s.saveJoined(resp, key); err != nil {
		return local.JoinResult{}, s.undo(err)
	}
	step("")
	return local.JoinResult{
		ClusterID: resp.Assignment.ClusterID, Node: n.Name, Roles: resp.Assignment.Self.Roles,
		Primary: primaryName(resp.Assignment), Warnings: notInstalledWarnings(n.Roles),
	}, nil
}

func primaryName(a cluster.Assignment) string {
	if c := a.Controllers(); len(c) > 0 {
		return c[0].Name
	}
	return ""
}

func (s *Setup) saveJoined(resp *cluster.JoinResponse, key crypto.Signer) error {
	if err := s.store.makeDirs(); err != nil {
		return err
	}
	if len(resp.Ring) > 0 {
		ring, err := seal.Unmarshal(resp.Ring)
		if err != nil {
			return err
		}
		if err := ring.SaveFile(s.cfg.ringFile()); err != nil {
			return err
		}
	}
	if err := s.store.saveKey(key); err != nil {
		return err
	}
	return s.saveMember(resp.Certificate, resp.Assignment)
}

// joinTries is how often the controllers are asked when an answer was lost.
const joinTries = 3

// requestJoin asks the controllers in turn; the first answer counts. Only a
// controller that cannot be reached, or has no Primary, lets the next be
// asked: a refusal is one for all. An answer that was lost may have been
// "yes": then all are asked again with the same request, which gets the same
// answer. Giving up would leave a node in the cluster that does not exist, and
// a token that is spent.
func (s *Setup) requestJoin(ctx context.Context, addrs []string, secret cluster.JoinSecret, n node.Node, key crypto.Signer) (*cluster.JoinResponse, error) {
	csr, err := pki.CSR(key, n.ID)
	if err != nil {
		return nil, err
	}
	client := rpc.NewAnonymousClient(secret.Digest, s.cfg.Now, rpc.ClientConfig{})
	defer client.Close()
	var last error
	for try, lost := 1, true; lost && try <= joinTries && ctx.Err() == nil; try++ {
		var resp *cluster.JoinResponse
		if resp, lost, last = s.askToJoin(ctx, client, addrs, secret, n, csr); last == nil {
			return resp, nil
		}
	}
	return nil, last
}

// askToJoin asks each controller once. lost says that one of them may have
// said yes.
func (s *Setup) askToJoin(ctx context.Context, client *rpc.Client, addrs []string, secret cluster.JoinSecret, n node.Node, csr []byte) (_ *cluster.JoinResponse, lost bool, last error) {
	for _, addr := range addrs {
		resp, err := rpc.Call(ctx, client, rpc.Target{Addr: addr}, cluster.MethodJoin, &cluster.JoinRequest{
			TokenID: secret.ID, Secret: secret.Secret, Node: n, CSR: csr, Now: s.cfg.Now(),
			Capabilities: cluster.Registry().Capabilities(),
		})
		if err == nil {
			return resp, false, nil
		}
		last = fmt.Errorf("controller %s: %w", addr, err)
		switch {
		case errors.Is(err, rpcerr.Deadline):
			lost = true
		case !rpcerr.Retryable(err):
			return nil, false, last
		}
	}
	return nil, lost, last
}

// resolvePrimaries turns what the operator typed into addresses.
func resolvePrimaries(ctx context.Context, primaries []string, port int) ([]string, error) {
	if len(primaries) == 0 {
		return nil, rpcerr.New(rpcerr.Invalid, "no controller to ask").WithHint("name one: stackato-agent join ADDRESS --token-file F")
	}
	var out []string
	for _, p := range primaries {
		if strings.Contains(p, "provider=") {
			found, err := discover(ctx, p)
			if err != nil {
				return nil, err
			}
			for _, a := range found {
				out = append(out, net.JoinHostPort(a, fmt.Sprint(port)))
			}
			continue
		}
		if _, _, err := net.SplitHostPort(p); err != nil {
			p = net.JoinHostPort(p, fmt.Sprint(port))
		}
		out = append(out, p)
	}
	return out, nil
}

// notInstalledWarnings tells of roles that nothing runs for yet.
func notInstalledWarnings(roles node.RoleSet) []string {
	out := []string{}
	if missing := roles.NotInstalled(); missing != 0 {
		out = append(out, fmt.Sprintf("not installed in this release, assigned all the same: %s", missing))
	}
	return out
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func hostName() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	label, _, _ := strings.Cut(strings.ToLower(h), ".")
	return label
}

// stepper reports a step as done when the next begins; "" ends the last.
func stepper(progress local.Progress) func(string) {
	current := ""
	return func(next string) {
		if current != "" {
			progress(local.Step{Name: current, State: local.StepDone})
		}
		if current = next; next != "" {
			progress(local.Step{Name: next, State: local.StepStarted})
		}
	}
}
