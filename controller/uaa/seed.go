package uaa

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// OriginUAA is the origin of users whose passwords are kept here.
const OriginUAA = "uaa"

// Client ids.
const (
	clientCF  = "cf"
	clientSSH = "ssh-proxy"
)

// Grant types.
const (
	grantPassword = "password"
	grantRefresh  = "refresh_token"
	grantClient   = "client_credentials"
	grantCode     = "authorization_code"
)

// defaultScopes are those of every user, as UAA's default groups.
var defaultScopes = []string{
	"openid", "cloud_controller.read", "cloud_controller.write", "password.write", "uaa.user", "scim.me", "network.write",
}

// AdminGroups are the scopes of administrators.
var AdminGroups = []string{
	"cloud_controller.admin", "scim.read", "scim.write", "clients.read", "uaa.admin", "network.admin",
	"routing.router_groups.read", "routing.router_groups.write", "doppler.firehose",
}

// seeded are the clients of every cluster. The empty secret of "cf" is what
// the unmodified program sends.
func seeded() []cf.Client {
	all := append(append([]string{}, defaultScopes...), AdminGroups...)
	return []cf.Client{
		{
			ID: clientCF, Name: "cf command line", Grants: []string{grantPassword, grantRefresh}, AutoApprove: true,
			Scopes: append(all, "cloud_controller.admin_read_only", "cloud_controller.global_auditor"),
		},
		{
			ID: clientSSH, Name: "ssh to instances", Grants: []string{grantCode}, AutoApprove: true,
			Scopes: []string{"openid", "cloud_controller.read", "cloud_controller.write"},
		},
	}
}

// seedClients adds clients that are missing and mends those that an older
// version made.
func (s *Server) seedClients(ctx context.Context, view *state.View) error {
	for _, c := range seeded() {
		old, ok := view.Client(c.ID)
		if ok && slices.Equal(old.Grants, c.Grants) && slices.Equal(old.Scopes, c.Scopes) {
			continue
		}
		c.CreatedAt = s.cfg.Now()
		if err := s.cfg.State.PutClient(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// ensureAdmin returns the first administrator's user, made if it is missing.
func (s *Server) ensureAdmin(ctx context.Context, view *state.View) (cf.User, error) {
	name, hash, ok := s.cfg.Admin.FirstAdmin()
	if !ok {
		return cf.User{}, nil
	}
	if u, ok := view.UserByName(name, OriginUAA); ok {
		return u, nil
	}
	now := s.cfg.Now()
	u := cf.User{
		Resource: cf.Resource{GUID: uuid.NewString(), CreatedAt: now, UpdatedAt: now},
		UserName: name, Origin: OriginUAA, Email: name, GivenName: name, FamilyName: name,
		Password: hash, Adopted: hash, Groups: AdminGroups, PasswordAt: now,
	}
	err := s.cfg.State.CreateUser(ctx, u)
	if errors.Is(err, cf.ErrUniqueness) { // another controller was faster
		view, err = s.cfg.State.Read(ctx)
		if err == nil {
			u, _ = view.UserByName(name, OriginUAA)
		}
	}
	return u, err
}

// passwordOf is the hash that counts: for the first administrator that of the
// last `kato user reset-admin`, unless the password was changed since.
func (s *Server) passwordOf(u cf.User) string {
	if s.isFirstAdmin(u) {
		if _, hash, ok := s.cfg.Admin.FirstAdmin(); ok && hash != u.Adopted {
			return hash
		}
	}
	return u.Password
}

func (s *Server) isFirstAdmin(u cf.User) bool {
	return s.isAdminName(u.UserName, u.Origin)
}

func (s *Server) isAdminName(name, origin string) bool {
	admin, _, ok := s.cfg.Admin.FirstAdmin()
	return ok && origin == OriginUAA && strings.EqualFold(admin, name)
}
