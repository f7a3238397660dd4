package cf

import "time"

// FeatureFlag switches a feature for users who are not administrators.
type FeatureFlag struct {
	Name      string    `json:"name"`
	Enabled   bool      `json:"enabled"`
	Message   string    `json:"message,omitempty"` // shown instead of the usual error
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// FeatureFlags lists the flags of Cloud Foundry with their defaults, by name.
var FeatureFlags = []FeatureFlag{
	{Name: "app_bits_upload", Enabled: true},
	{Name: "app_scaling", Enabled: true},
	{Name: "diego_cnb"},
	{Name: "diego_docker"},
	{Name: "env_var_visibility", Enabled: true},
	{Name: "hide_marketplace_from_unauthenticated_users"},
	{Name: "private_domain_creation", Enabled: true},
	{Name: "resource_matching", Enabled: true},
	{Name: "route_creation", Enabled: true},
	{Name: "route_sharing"},
	{Name: "service_instance_creation", Enabled: true},
	{Name: "service_instance_sharing"},
	{Name: "set_roles_by_username", Enabled: true},
	{Name: "space_developer_env_var_visibility", Enabled: true},
	{Name: "space_scoped_private_broker_creation", Enabled: true},
	{Name: "task_creation", Enabled: true},
	{Name: "unset_roles_by_username", Enabled: true},
	{Name: "user_org_creation"},
}
