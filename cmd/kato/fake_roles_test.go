package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func (f *fake) Roles(context.Context) ([]local.RoleView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []local.RoleView
	for _, info := range node.Roles() {
		v := local.RoleView{RoleInfo: info, Required: info.Role == node.Base || info.Role == node.Controller}
		for _, n := range f.nodes {
			if n.Roles.Has(info.Role) {
				v.Nodes = append(v.Nodes, n.Name)
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func (f *fake) groups() (node.Groups, error) {
	text := "edge: [router, harbor]\n"
	if f.mood == "badgroups" {
		text = "edge:\n  - roter\n"
	}
	g, err := node.ParseGroups([]byte(text))
	if err != nil {
		return nil, local.Errorf(local.CodeRefused, "correct the file", "/s/etc/kato/role_groups.yml: %v", err)
	}
	return g, nil
}

func (f *fake) Groups(context.Context) ([]local.GroupView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.groups()
	var out []local.GroupView
	for name, roles := range g {
		_, builtin := node.BuiltinGroups()[name]
		out = append(out, local.GroupView{Name: name, Roles: roles, Builtin: builtin})
	}
	slices.SortFunc(out, func(a, b local.GroupView) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

func (f *fake) ChangeRoles(_ context.Context, r local.RoleChange, _ local.Progress) (local.RoleChangeResult, error) {
	unlock, err := f.lock()
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	defer unlock()
	n, err := f.find(r.Node)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	g, err := f.groups()
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	want, err := r.Apply(n.Roles, g)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	out := local.RoleChangeResult{Node: n.Name, Before: n.Roles, Roles: want, Generation: n.Generation + 1}
	if missing := want.Without(n.Roles).NotInstalled(); missing != 0 {
		out.Warnings = append(out.Warnings, "this release does not have: "+missing.String())
	}
	if r.NoStart {
		out.Warnings = append(out.Warnings, "not started: use kato start")
	}
	n.Roles = want
	return out, nil
}

func (f *fake) Processes(_ context.Context, cluster bool) ([]local.Process, error) {
	out := []local.Process{{
		Node: f.self, Name: "consul", Roles: node.NewRoleSet(node.Base), State: local.StateRunning,
		PID: 42, StartedAt: start, Ready: true, Version: "1.21.5",
	}}
	if cluster {
		out = append(out, local.Process{Node: "n3", State: local.StateUnknown, Error: "no answer\nwithin 1.5 s\x1b[31m"})
	}
	return out, nil
}

func (f *fake) ProcessRestart(ctx context.Context, name string, p local.Progress) (local.Process, error) {
	procs, err := f.Processes(ctx, false)
	if name != "consul" {
		return local.Process{}, local.Errorf(local.CodeNotFound, "see kato process list", "there is no process %q", name)
	}
	return procs[0], err
}

func (f *fake) ProcessReady(ctx context.Context, name string) (local.Readiness, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ready > 0 {
		f.ready--
		return local.Readiness{Waiting: []local.Process{{Node: f.self, Name: "nomad", State: local.StateStarting}}}, nil
	}
	return local.Readiness{Ready: true}, nil
}

func (f *fake) ControlRoles(_ context.Context, r local.RoleControl, _ local.Progress) (local.RoleControlResult, error) {
	state := local.StateRunning
	if r.Op == local.ControlStop {
		state = local.StateStopped
	}
	g := node.BuiltinGroups()
	roles, err := g.Resolve(append(r.Names, "base")...)
	if err != nil {
		return local.RoleControlResult{}, local.Errorf(local.CodeNotFound, "", "%v", err)
	}
	out := local.RoleControlResult{Node: f.self}
	for _, role := range roles.List() {
		out.Roles = append(out.Roles, local.RoleStatus{Role: role, State: state})
	}
	return out, nil
}

func (f *fake) ConfigList(_ context.Context, prefix string) ([]local.ConfigEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []local.ConfigEntry
	for k, v := range f.config {
		if strings.HasPrefix(k, prefix) {
			out = append(out, local.ConfigEntry{Key: k, Value: v, Type: jsonType(v), Set: true})
		}
	}
	slices.SortFunc(out, func(a, b local.ConfigEntry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func (f *fake) ConfigSet(_ context.Context, r local.ConfigSetRequest) (local.ConfigEntry, error) {
	unlock, err := f.lock()
	if err != nil {
		return local.ConfigEntry{}, err
	}
	defer unlock()
	if old, ok := f.config[r.Key]; ok && jsonType(old) != jsonType(r.Value) && !r.Force {
		return local.ConfigEntry{}, local.Errorf(local.CodeRefused, "use --force to change the type",
			"%s is a %s, not a %s", r.Key, jsonType(old), jsonType(r.Value))
	}
	f.config[r.Key] = r.Value
	return local.ConfigEntry{Key: r.Key, Value: r.Value, Type: jsonType(r.Value), Set: true, Version: 2}, nil
}

func (f *fake) ConfigDel(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.config[key]; !ok {
		return local.Errorf(local.CodeNotFound, "", "%s is not set", key)
	}
	delete(f.config, key)
	return nil
}

// jsonType names the type of a JSON value.
func jsonType(v json.RawMessage) string {
	switch v[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	}
	return "number"
}

func (f *fake) TokenCreate(_ context.Context, r local.TokenCreateRequest) (local.NewToken, error) {
	roles, err := node.BuiltinGroups().Resolve(append(r.Roles, "base")...)
	if err != nil {
		return local.NewToken{}, local.Errorf(local.CodeNotFound, "", "%v", err)
	}
	return local.NewToken{Token: local.Token{ID: "abc", Uses: max(r.Uses, 1), ExpiresAt: start.Add(r.TTL), Roles: roles}, Secret: "good-token"}, nil
}

func (f *fake) TokenList(context.Context) ([]local.Token, error) {
	return []local.Token{{ID: "abc", Uses: 1, ExpiresAt: start}, {ID: "old", Expired: true, ExpiresAt: start}}, nil
}

func (f *fake) TokenRevoke(_ context.Context, id string) error {
	if id != "abc" {
		return local.Errorf(local.CodeNotFound, "see kato token list", "there is no token %q", id)
	}
	return nil
}

func (f *fake) CertificateAdd(_ context.Context, r local.CertificateAddRequest) (local.Certificate, error) {
	switch {
	case r.Name == "shop" && !r.Replace:
		return local.Certificate{}, local.Errorf(local.CodeConflict, "give --replace to put another in its place", "there is a certificate shop already")
	case !strings.Contains(string(r.Cert), "CERTIFICATE") || !strings.Contains(string(r.Key), "PRIVATE KEY"):
		return local.Certificate{}, local.Errorf(local.CodeInvalid, "", "mixed up")
	}
	return local.Certificate{Name: r.Name, Hosts: []string{"shop.example.com", "*.example.org"}, NotAfter: start, State: local.CertificateValid}, nil
}

func (f *fake) CertificateList(context.Context) ([]local.Certificate, error) {
	return []local.Certificate{
		{Name: "old", Hosts: []string{"old.example.com"}, NotAfter: start, ExpiresInDays: -1, State: local.CertificateExpired, Modified: start},
		{Name: "shop", Hosts: []string{"shop.example.com"}, NotAfter: start, State: local.CertificateSoon, Modified: start},
	}, nil
}

func (f *fake) CertificateRemove(_ context.Context, name string) error {
	if name != "shop" {
		return local.Errorf(local.CodeNotFound, "see: kato certificate list", "there is no certificate %q", name)
	}
	return nil
}

func (f *fake) UserResetAdmin(context.Context) (local.Credentials, error) {
	return local.Credentials{Username: "admin", Password: "n3w"}, nil
}

func (f *fake) ExportSealingKeys(_ context.Context, r local.KeyExportRequest) (local.KeyExport, error) {
	if len(r.Passphrase) < 12 {
		return local.KeyExport{}, local.Errorf(local.CodeInvalid, "take a longer one", "the passphrase is too short")
	}
	return local.KeyExport{Data: []byte("sealed under " + string(r.Passphrase)), Keys: []string{"k1", "k2"}}, nil
}

func (f *fake) Rotate(_ context.Context, what local.RotateWhat, p local.Progress) (local.RotateResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p(local.Step{Name: "make the key", State: local.StepDone, Index: 1, Total: 2})
	if f.mood == "failing" {
		p(local.Step{Name: "give it to n3", State: local.StepFailed, Index: 2, Total: 2})
		return local.RotateResult{}, local.Errorf(local.CodeUnavailable, "start it again", "n3 does not answer")
	}
	return local.RotateResult{What: what, KeyID: "k2", Pending: []string{"n3"}}, nil
}
