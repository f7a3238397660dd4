package local

import (
	"context"
	"net/http"
	"strconv"
)

// The methods here fit requests to Backend methods with another shape.

// nameRequest names one thing.
type nameRequest struct {
	Name string `json:"name"`
}

type inspectRequest struct {
	Names []string `json:"names,omitempty"`
}

type rotateRequest struct {
	What RotateWhat `json:"what"`
}

func (h *handler) health(ctx context.Context) (empty, error) {
	return empty{}, h.backend.Health(ctx)
}

func (h *handler) status(r *http.Request) (Status, error) {
	all, err := boolParam(r, "all")
	if err != nil {
		return Status{}, err
	}
	return h.backend.Status(r.Context(), all)
}

func (h *handler) inspect(ctx context.Context, r inspectRequest, p Progress) ([]Finding, error) {
	return h.backend.Inspect(ctx, r.Names, p)
}

func (h *handler) leave(ctx context.Context, r LeaveRequest, p Progress) (empty, error) {
	return empty{}, h.backend.Leave(ctx, r, p)
}

func (h *handler) nodeRemove(ctx context.Context, r NodeRemoveRequest, p Progress) (empty, error) {
	if r.Node == "" {
		return empty{}, Errorf(CodeInvalid, "", "which node? its name is missing")
	}
	return empty{}, h.backend.NodeRemove(ctx, r, p)
}

func (h *handler) placementZones(r *http.Request) (PlacementZones, error) {
	return h.backend.PlacementZones(r.Context(), PlacementZonesRequest{Node: r.URL.Query().Get("node")})
}

func (h *handler) processes(r *http.Request) ([]Process, error) {
	cluster, err := boolParam(r, "cluster")
	if err != nil {
		return nil, err
	}
	return h.backend.Processes(r.Context(), cluster)
}

func (h *handler) processReady(r *http.Request) (Readiness, error) {
	return h.backend.ProcessReady(r.Context(), r.URL.Query().Get("name"))
}

func (h *handler) processRestart(ctx context.Context, r nameRequest, p Progress) (Process, error) {
	if r.Name == "" {
		return Process{}, Errorf(CodeInvalid, "", "which process? its name is missing")
	}
	return h.backend.ProcessRestart(ctx, r.Name, p)
}

func (h *handler) configList(r *http.Request) ([]ConfigEntry, error) {
	return h.backend.ConfigList(r.Context(), r.URL.Query().Get("prefix"))
}

func (h *handler) configDel(r *http.Request) (empty, error) {
	key := r.URL.Query().Get("key")
	if key == "" {
		return empty{}, Errorf(CodeInvalid, "", "which setting? its key is missing")
	}
	noteAudit(r.Context(), ConfigSetRequest{Key: key})
	return empty{}, h.backend.ConfigDel(r.Context(), key)
}

func (h *handler) tokenRevoke(r *http.Request) (empty, error) {
	noteAudit(r.Context(), nameRequest{Name: r.PathValue("id")})
	return empty{}, h.backend.TokenRevoke(r.Context(), r.PathValue("id"))
}

func (h *handler) certificateRemove(r *http.Request) (empty, error) {
	noteAudit(r.Context(), nameRequest{Name: clip(r.PathValue("name"))})
	return empty{}, h.backend.CertificateRemove(r.Context(), r.PathValue("name"))
}

func (h *handler) rotate(ctx context.Context, r rotateRequest, p Progress) (RotateResult, error) {
	switch r.What {
	case RotateGossipKey, RotateCA, RotateSealingKey:
		return h.backend.Rotate(ctx, r.What, p)
	}
	return RotateResult{}, Errorf(CodeInvalid, "rotate gossip-key, ca or sealing-key", "unknown key %.40q", r.What)
}

func boolParam(r *http.Request, name string) (bool, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, Errorf(CodeInvalid, "", "%s=%.20q: want true or false", name, s)
	}
	return v, nil
}
