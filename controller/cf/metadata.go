package cf

import "time"

// Resource is what every resource has. Embed it first.
type Resource struct {
	GUID      string    `json:"guid"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Metadata are labels and annotations. The maps are shared with the state:
// never change them in place.
type Metadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// MetadataPatch changes metadata: a nil value removes a key.
type MetadataPatch struct {
	Labels      map[string]*string `json:"labels,omitempty"`
	Annotations map[string]*string `json:"annotations,omitempty"`
}

// Patched returns m changed by p; m stays as it is.
func (m Metadata) Patched(p MetadataPatch) Metadata {
	return Metadata{Labels: patched(m.Labels, p.Labels), Annotations: patched(m.Annotations, p.Annotations)}
}

func patched(old map[string]string, changes map[string]*string) map[string]string {
	if len(changes) == 0 {
		return old
	}
	out := make(map[string]string, len(old)+len(changes))
	for k, v := range old {
		out[k] = v
	}
	for k, v := range changes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
		}
	}
	return out
}
