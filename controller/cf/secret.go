package cf

// Secret is a sealed value: only who holds the cluster's sealing key can open
// it. Rows, the log and snapshots hold nothing but sealed values.
type Secret []byte

// SecretMap holds sealed values by name; the names are not secret. It is
// shared with the state: never change it in place.
type SecretMap map[string]Secret

// Patched returns m changed by p, in which a nil value removes a name; m
// stays as it is.
func (m SecretMap) Patched(p SecretMap) SecretMap {
	if len(p) == 0 {
		return m
	}
	out := make(SecretMap, len(m)+len(p))
	for k, v := range m {
		out[k] = v
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}
