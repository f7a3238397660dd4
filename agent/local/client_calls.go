package local

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// fetch is a GET that returns what it decodes.
func fetch[T any](ctx context.Context, c *Client, path string) (out T, err error) {
	err = c.request(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// Info implements [InfoBackend].
func (c *Client) Info(ctx context.Context) (Info, error) { return fetch[Info](ctx, c, "/v1/info") }

// Version implements [InfoBackend].
func (c *Client) Version(ctx context.Context) (Version, error) {
	return fetch[Version](ctx, c, "/v1/version")
}

// Health implements [InfoBackend].
func (c *Client) Health(ctx context.Context) error {
	_, err := fetch[empty](ctx, c, "/v1/health")
	return err
}

// Status implements [InfoBackend].
func (c *Client) Status(ctx context.Context, all bool) (Status, error) {
	return fetch[Status](ctx, c, "/v1/status?all="+strconv.FormatBool(all))
}

// Inspect implements [InfoBackend].
func (c *Client) Inspect(ctx context.Context, names []string, p Progress) (out []Finding, err error) {
	err = c.stream(ctx, "/v1/inspect", inspectRequest{names}, &out, p)
	return out, err
}

// Init implements [MemberBackend].
func (c *Client) Init(ctx context.Context, r InitRequest, p Progress) (out InitResult, err error) {
	err = c.stream(ctx, "/v1/init", r, &out, p)
	return out, err
}

// Join implements [MemberBackend].
func (c *Client) Join(ctx context.Context, r JoinRequest, p Progress) (out JoinResult, err error) {
	err = c.stream(ctx, "/v1/join", r, &out, p)
	return out, err
}

// Leave implements [MemberBackend].
func (c *Client) Leave(ctx context.Context, r LeaveRequest, p Progress) error {
	return c.stream(ctx, "/v1/leave", r, &empty{}, p)
}

// Nodes implements [NodeBackend].
func (c *Client) Nodes(ctx context.Context) ([]NodeView, error) {
	return fetch[[]NodeView](ctx, c, "/v1/nodes")
}

// NodeRemove implements [NodeBackend].
func (c *Client) NodeRemove(ctx context.Context, r NodeRemoveRequest, p Progress) error {
	return c.stream(ctx, "/v1/nodes/remove", r, &empty{}, p)
}

// NodeSetZone implements [NodeBackend].
func (c *Client) NodeSetZone(ctx context.Context, r ZoneRequest) (out NodeView, err error) {
	err = c.request(ctx, http.MethodPut, "/v1/zone", r, &out)
	return out, err
}

// PlacementZones implements [NodeBackend].
func (c *Client) PlacementZones(ctx context.Context, r PlacementZonesRequest) (out PlacementZones, err error) {
	if len(r.Add)+len(r.Remove) == 0 {
		return fetch[PlacementZones](ctx, c, "/v1/placement-zones?node="+url.QueryEscape(r.Node))
	}
	err = c.request(ctx, http.MethodPut, "/v1/placement-zones", r, &out)
	return out, err
}

// Roles implements [RoleBackend].
func (c *Client) Roles(ctx context.Context) ([]RoleView, error) {
	return fetch[[]RoleView](ctx, c, "/v1/roles")
}

// Groups implements [RoleBackend].
func (c *Client) Groups(ctx context.Context) ([]GroupView, error) {
	return fetch[[]GroupView](ctx, c, "/v1/groups")
}

// ChangeRoles implements [RoleBackend].
func (c *Client) ChangeRoles(ctx context.Context, r RoleChange, p Progress) (out RoleChangeResult, err error) {
	err = c.stream(ctx, "/v1/roles", r, &out, p)
	return out, err
}

// Processes implements [ProcessBackend].
func (c *Client) Processes(ctx context.Context, cluster bool) ([]Process, error) {
	return fetch[[]Process](ctx, c, "/v1/processes?cluster="+strconv.FormatBool(cluster))
}

// ProcessRestart implements [ProcessBackend].
func (c *Client) ProcessRestart(ctx context.Context, name string, p Progress) (out Process, err error) {
	err = c.stream(ctx, "/v1/processes/restart", nameRequest{name}, &out, p)
	return out, err
}

// ProcessReady implements [ProcessBackend].
func (c *Client) ProcessReady(ctx context.Context, name string) (Readiness, error) {
	return fetch[Readiness](ctx, c, "/v1/processes/ready?name="+url.QueryEscape(name))
}

// ControlRoles implements [ProcessBackend].
func (c *Client) ControlRoles(ctx context.Context, r RoleControl, p Progress) (out RoleControlResult, err error) {
	err = c.stream(ctx, "/v1/control", r, &out, p)
	return out, err
}

// ConfigList implements [ConfigBackend].
func (c *Client) ConfigList(ctx context.Context, prefix string) ([]ConfigEntry, error) {
	return fetch[[]ConfigEntry](ctx, c, "/v1/config?prefix="+url.QueryEscape(prefix))
}

// ConfigSet implements [ConfigBackend].
func (c *Client) ConfigSet(ctx context.Context, r ConfigSetRequest) (out ConfigEntry, err error) {
	err = c.request(ctx, http.MethodPut, "/v1/config", r, &out)
	return out, err
}

// ConfigDel implements [ConfigBackend].
func (c *Client) ConfigDel(ctx context.Context, key string) error {
	return c.request(ctx, http.MethodDelete, "/v1/config?key="+url.QueryEscape(key), nil, &empty{})
}

// TokenCreate implements [TokenBackend].
func (c *Client) TokenCreate(ctx context.Context, r TokenCreateRequest) (out NewToken, err error) {
	err = c.request(ctx, http.MethodPost, "/v1/tokens", r, &out)
	return out, err
}

// TokenList implements [TokenBackend].
func (c *Client) TokenList(ctx context.Context) ([]Token, error) {
	return fetch[[]Token](ctx, c, "/v1/tokens")
}

// TokenRevoke implements [TokenBackend].
func (c *Client) TokenRevoke(ctx context.Context, id string) error {
	return c.request(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, &empty{})
}

// UserResetAdmin implements [SecurityBackend].
func (c *Client) UserResetAdmin(ctx context.Context) (out Credentials, err error) {
	err = c.request(ctx, http.MethodPost, "/v1/users/reset-admin", nil, &out)
	return out, err
}

// ExportSealingKeys implements [SecurityBackend].
func (c *Client) ExportSealingKeys(ctx context.Context, r KeyExportRequest) (out KeyExport, err error) {
	err = c.request(ctx, http.MethodPost, "/v1/export/sealing-keys", r, &out)
	return out, err
}

// Rotate implements [SecurityBackend].
func (c *Client) Rotate(ctx context.Context, what RotateWhat, p Progress) (out RotateResult, err error) {
	err = c.stream(ctx, "/v1/rotate", rotateRequest{what}, &out, p)
	return out, err
}

// CertificateAdd implements [CertificateBackend].
func (c *Client) CertificateAdd(ctx context.Context, r CertificateAddRequest) (out Certificate, err error) {
	err = c.request(ctx, http.MethodPost, "/v1/certificates", r, &out)
	return out, err
}

// CertificateList implements [CertificateBackend].
func (c *Client) CertificateList(ctx context.Context) ([]Certificate, error) {
	return fetch[[]Certificate](ctx, c, "/v1/certificates")
}

// CertificateRemove implements [CertificateBackend].
func (c *Client) CertificateRemove(ctx context.Context, name string) error {
	return c.request(ctx, http.MethodDelete, "/v1/certificates/"+url.PathEscape(name), nil, &empty{})
}
