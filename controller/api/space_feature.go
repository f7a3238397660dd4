package api

import (
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func spaceUsage(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, err
	}
	u := r.view.UsageOfSpace(s.GUID)
	self := r.link("/v3/spaces/", s.GUID)
	return ok(map[string]any{
		"usage_summary": map[string]int{
			"started_instances": u.Instances, "memory_in_mb": u.MemoryMB, "routes": len(r.view.RoutesOfSpace(s.GUID)),
			"service_instances": len(r.view.ServiceInstancesOfSpace(s.GUID)), "reserved_ports": 0, "domains": 0, "per_app_tasks": 0, "service_keys": 0,
		},
		"links": links{"self": {Href: self + "/usage_summary"}, "space": {Href: self}},
	})
}

type featureJSON struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
}

func spaceSSH(s cf.Space) featureJSON {
	return featureJSON{"ssh", "Enable SSHing into apps in the space.", !s.SSHOff}
}

func getSpaceSSH(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, err
	}
	return ok(spaceSSH(s))
}

func listSpaceFeatures(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, err
	}
	return ok(map[string]any{"features": []featureJSON{spaceSSH(s)}})
}

func updateSpaceSSH(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceUpdate)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Enabled *bool `json:"enabled"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.Enabled == nil {
		return response{}, cf.ErrUnprocessable.With("Enabled must be a boolean")
	}
	off := !*body.Enabled
	ctx := r.audit("audit.space.update", spaceParty(s), s.OrgGUID, s.GUID, map[string]any{"allow_ssh": *body.Enabled})
	s, err = r.store().UpdateSpace(ctx, state.SpaceUpdate{GUID: s.GUID, SSHOff: &off, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(spaceSSH(s))
}

func spaceSegment(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, err
	}
	return ok(related{nil, links{"self": {Href: r.link("/v3/spaces/", s.GUID, "/relationships/isolation_segment")}}})
}

func spaceGroups(r *request) (response, error) {
	if _, err := r.space(r.guid(), auth.SpaceRead); err != nil {
		return response{}, err
	}
	return emptyList(r)
}
