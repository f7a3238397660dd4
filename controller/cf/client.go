package cf

import "time"

// Client is a program that may ask for tokens.
type Client struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Secret is an argon2id hash in PHC string form; "" means that the secret
	// is empty, as that of the client "cf": it protects nothing.
	Secret string `json:"secret,omitempty"`
	// Grants are the grant types that the client may use.
	Grants []string `json:"grants"`
	// Scopes are what the client may ask for on behalf of a user.
	Scopes []string `json:"scopes,omitempty"`
	// Authorities are the scopes of the client's own tokens.
	Authorities []string `json:"authorities,omitempty"`
	// AutoApprove: users are not asked whether the client may act for them.
	AutoApprove bool `json:"auto_approve,omitempty"`
	// AccessLife and RefreshLife are how long tokens last; 0 is the default.
	AccessLife  time.Duration `json:"access_life_ns,omitempty"`
	RefreshLife time.Duration `json:"refresh_life_ns,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
}
