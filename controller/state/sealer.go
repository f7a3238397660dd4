package state

import (
	"fmt"

	"github.com/stackato/stackato/controller/cf"
)

// Sealer keeps secrets from whoever reads rows, the log, snapshots or
// backups. What was sealed for one context opens with the same one only.
// Methods are safe for concurrent use.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// SealEnv seals an app's variables; a nil value, which removes a variable in
// a patch, stays nil.
func SealEnv(s Sealer, appGUID string, env map[string]*string) (cf.SecretMap, error) {
	out := make(cf.SecretMap, len(env))
	for name, value := range env {
		if value == nil {
			out[name] = nil
			continue
		}
		sealed, err := s.Seal([]byte(*value), envContext(appGUID, name))
		if err != nil {
			return nil, fmt.Errorf("seal the variable %s: %w", name, err)
		}
		out[name] = sealed
	}
	return out, nil
}

// OpenEnv opens the variables of an app, one of its process versions, tasks
// or revisions.
func OpenEnv(s Sealer, appGUID string, env cf.SecretMap) (map[string]string, error) {
	out := make(map[string]string, len(env))
	for name, sealed := range env {
		plain, err := s.Open(sealed, envContext(appGUID, name))
		if err != nil {
			return nil, fmt.Errorf("open the variable %s: %w", name, err)
		}
		out[name] = string(plain)
	}
	return out, nil
}

// SealCredentials seals a service instance's credentials, a JSON object.
func SealCredentials(s Sealer, instanceGUID string, credentials []byte) (cf.Secret, error) {
	sealed, err := s.Seal(credentials, "service:"+instanceGUID)
	if err != nil {
		return nil, fmt.Errorf("seal credentials: %w", err)
	}
	return sealed, nil
}

// OpenCredentials returns a service instance's credentials, "{}" for none.
func OpenCredentials(s Sealer, instanceGUID string, sealed cf.Secret) ([]byte, error) {
	if len(sealed) == 0 {
		return []byte("{}"), nil
	}
	plain, err := s.Open(sealed, "service:"+instanceGUID)
	if err != nil {
		return nil, fmt.Errorf("open credentials: %w", err)
	}
	return plain, nil
}

func envContext(appGUID, name string) string { return "env:" + appGUID + ":" + name }
