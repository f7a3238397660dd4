package api

import (
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// link is one entry of "links".
type link struct {
	Href   string `json:"href"`
	Method string `json:"method,omitempty"`
}

type links map[string]link

// head is what the JSON of every resource begins with.
type head struct {
	GUID      string `json:"guid"`
	CreatedAt string `json:"created_at"`
	UpdatedAt string `json:"updated_at"`
}

func headOf(r cf.Resource) head { return head{r.GUID, stamp(r.CreatedAt), stamp(r.UpdatedAt)} }

// stamp is a time as Cloud Foundry shows it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// metadata is labels and annotations as shown: never null.
type metadata struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func metadataOf(m cf.Metadata) metadata {
	out := metadata{m.Labels, m.Annotations}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	return out
}

// relation is a relationship to one resource, or to none: {"data": {"guid"}}.
type relation struct {
	Data *relationData `json:"data"`
}

type relationData struct {
	GUID string `json:"guid"`
}

// toOne is the relationship to a resource, empty for "".
func toOne(guid string) relation {
	if guid == "" {
		return relation{}
	}
	return relation{&relationData{guid}}
}

// guid is "" without data.
func (r *relation) guid() string {
	if r == nil || r.Data == nil {
		return ""
	}
	return r.Data.GUID
}

// relations is a relationship to any number of resources.
type relations struct {
	Data []relationData `json:"data"`
}

func toMany(guids []string) relations {
	out := relations{[]relationData{}}
	for _, g := range guids {
		out.Data = append(out.Data, relationData{g})
	}
	return out
}

func (r relations) guids() []string {
	out := []string{}
	for _, d := range r.Data {
		out = append(out, d.GUID)
	}
	return out
}

// related is the answer to GET /v3/x/{guid}/relationships/y.
type related struct {
	Data  any   `json:"data"`
	Links links `json:"links"`
}

// deref is the value, or the default for nil.
func deref[T any](p *T, d T) T {
	if p == nil {
		return d
	}
	return *p
}

// orNull shows "" as null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
