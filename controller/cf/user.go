package cf

import "time"

// User is a person who can log in. The Cloud Controller knows them by the same
// GUID once there is a [CloudUser] row.
type User struct {
	Resource
	UserName   string `json:"user_name"` // unique within the origin, without regard to case
	Origin     string `json:"origin"`    // "uaa", or who else checks the password
	Email      string `json:"email,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
	FamilyName string `json:"family_name,omitempty"`
	// Password is an argon2id hash in PHC string form, "" for a foreign
	// origin.
	Password string `json:"password,omitempty"`
	// Groups are the scopes that the user has beside those that all have.
	Groups []string `json:"groups,omitempty"`
	// Adopted is set for the first administrator: the hash that
	// `kato user reset-admin` had made when Password was set. Another one
	// than the node agent's present hash means that the password was reset.
	Adopted string `json:"adopted,omitempty"`
	// Inactive users cannot log in.
	Inactive bool `json:"inactive,omitempty"`
	Version  int  `json:"version"` // counts changes, for SCIM
	// PasswordAt is when the password was set.
	PasswordAt time.Time `json:"password_at"`
}
