package api

import (
	"slices"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) sidecarRoutes() []route {
	return []route{
		{"POST", "/v3/apps/{guid}/sidecars", auth.AppWrite, "Add a sidecar to an app.", createSidecar},
		{"GET", "/v3/apps/{guid}/sidecars", auth.AppRead, "List an app's sidecars.", listAppSidecars},
		{"GET", "/v3/processes/{guid}/sidecars", auth.AppRead, "List a process' sidecars.", listProcessSidecars},
		{"GET", "/v3/sidecars/{guid}", auth.AppRead, "Show a sidecar.", getSidecar},
		{"PATCH", "/v3/sidecars/{guid}", auth.AppWrite, "Change a sidecar.", updateSidecar},
		{"DELETE", "/v3/sidecars/{guid}", auth.AppWrite, "Delete a sidecar.", deleteSidecar},
	}
}

type sidecarJSON struct {
	head
	Name          string         `json:"name"`
	Command       string         `json:"command"`
	ProcessTypes  []string       `json:"process_types"`
	MemoryMB      *int           `json:"memory_in_mb"`
	Origin        string         `json:"origin"`
	Relationships map[string]any `json:"relationships"`
}

func presentSidecar(_ *request, s cf.Sidecar) any {
	return sidecarJSON{
		headOf(s.Resource), s.Name, s.Command, s.ProcessTypes, orNullNumber(s.MemoryMB), s.Origin,
		map[string]any{"app": toOne(s.AppGUID)},
	}
}

func listSidecars(r *request, rows []cf.Sidecar) (response, error) {
	return listing[cf.Sidecar]{
		resource: func(s *cf.Sidecar) cf.Resource { return s.Resource },
		present:  presentSidecar,
	}.serve(r, slices.Values(rows))
}

func listAppSidecars(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return listSidecars(r, r.view.SidecarsOfApp(a.GUID))
}

func listProcessSidecars(r *request) (response, error) {
	p, _, err := r.process(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return listSidecars(r, r.view.SidecarsOfProcess(p.AppGUID, p.Type))
}

// sidecar is the path's sidecar, if the user may do action.
func (r *request) sidecar(action auth.Action) (cf.Sidecar, error) {
	s, found := r.view.Sidecar(r.guid())
	if !found {
		return s, cf.ErrNotFound.With("Sidecar not found")
	}
	_, err := r.appNamed(s.AppGUID, action, "Sidecar")
	return s, err
}

func getSidecar(r *request) (response, error) {
	s, err := r.sidecar(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentSidecar(r, s))
}

type sidecarBody struct {
	Name         *string   `json:"name"`
	Command      *string   `json:"command"`
	ProcessTypes *[]string `json:"process_types"`
	MemoryMB     *int      `json:"memory_in_mb"`
}

// problems checks what is set; whole says that nothing may be missing.
func (b sidecarBody) problems(whole bool) problems {
	var p problems
	if whole || b.Name != nil {
		p = append(p, nameProblems(deref(b.Name, ""))...)
	}
	if whole || b.Command != nil {
		p.check(deref(b.Command, "") != "", "Command can't be blank")
		p.check(len(deref(b.Command, "")) <= maxCommand, "Command is too long (maximum is 4096 characters)")
	}
	if whole || b.ProcessTypes != nil {
		p.check(len(deref(b.ProcessTypes, nil)) > 0, "Process types must have at least 1 process_type")
	}
	p.check(b.MemoryMB == nil || *b.MemoryMB > 0, "Memory in mb must be greater than 0")
	return p
}

func createSidecar(r *request) (response, error) {
	a, err := r.app(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	var body sidecarBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.problems(true).err(); err != nil {
		return response{}, err
	}
	s := cf.Sidecar{
		Resource: r.resource(), AppGUID: a.GUID, Name: *body.Name, Command: *body.Command, ProcessTypes: *body.ProcessTypes,
		MemoryMB: deref(body.MemoryMB, 0), Origin: cf.SidecarUser,
	}
	if err := r.store().CreateSidecar(r.Context(), s); err != nil {
		return response{}, err
	}
	return created(presentSidecar(r, s))
}

func updateSidecar(r *request) (response, error) {
	s, err := r.sidecar(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	var body sidecarBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.problems(false).err(); err != nil {
		return response{}, err
	}
	s, err = r.store().UpdateSidecar(r.Context(), state.SidecarUpdate{
		GUID: s.GUID, Name: body.Name, Command: body.Command, ProcessTypes: body.ProcessTypes, MemoryMB: body.MemoryMB, At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	return ok(presentSidecar(r, s))
}

func deleteSidecar(r *request) (response, error) {
	s, err := r.sidecar(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	if err := r.store().DeleteSidecar(r.Context(), state.Target{GUID: s.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return noContent()
}
