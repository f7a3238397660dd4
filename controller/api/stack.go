package api

import (
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) stackRoutes() []route {
	return []route{
		{"GET", "/v3/stacks", auth.SignedIn, "List stacks.", listStacks},
		{"GET", "/v3/stacks/{guid}", auth.SignedIn, "Show a stack.", getStack},
		{"GET", "/v3/stacks/{guid}/apps", auth.AppRead, "List the apps that use a stack.", listStackApps},
		{"PATCH", "/v3/stacks/{guid}", auth.GlobalWrite, "Label a stack.", updateStack},
	}
}

type stackJSON struct {
	head
	Name             string   `json:"name"`
	Description      *string  `json:"description"`
	State            string   `json:"state"`
	Default          bool     `json:"default"`
	BuildRootfsImage string   `json:"build_rootfs_image"`
	RunRootfsImage   string   `json:"run_rootfs_image"`
	Metadata         metadata `json:"metadata"`
	Links            links    `json:"links"`
}

// stackActive is the state of every stack.
const stackActive = "ACTIVE"

func presentStack(r *request, s cf.Stack) any {
	return stackJSON{
		head: headOf(s.Resource), Name: s.Name, Description: orNull(s.Description), State: stackActive, Default: s.Default,
		BuildRootfsImage: s.Name, RunRootfsImage: s.Name, Metadata: metadataOf(s.Metadata),
		Links: links{"self": {Href: r.link("/v3/stacks/", s.GUID)}},
	}
}

func listStacks(r *request) (response, error) {
	l := listing[cf.Stack]{
		resource: func(s *cf.Stack) cf.Resource { return s.Resource },
		metadata: func(s *cf.Stack) cf.Metadata { return s.Metadata },
		filters: map[string]func(*cf.Stack) string{
			"names": func(s *cf.Stack) string { return s.Name },
			"default": func(s *cf.Stack) string {
				if s.Default {
					return "true"
				}
				return "false"
			},
		},
		orders:  map[string]func(a, b *cf.Stack) int{"name": func(a, b *cf.Stack) int { return strings.Compare(a.Name, b.Name) }},
		present: func(r *request, s cf.Stack) any { return presentStack(r, s) },
	}
	return l.serve(r, where(r.view.Stacks(), func(*cf.Stack) bool { return true }))
}

func (r *request) stack() (cf.Stack, error) {
	s, found := r.view.Stack(r.guid())
	if !found {
		return s, cf.ErrNotFound.With("Stack not found")
	}
	return s, nil
}

func getStack(r *request) (response, error) {
	s, err := r.stack()
	if err != nil {
		return response{}, err
	}
	return ok(presentStack(r, s))
}

func listStackApps(r *request) (response, error) {
	s, err := r.stack()
	if err != nil {
		return response{}, err
	}
	may := r.spacesWith(auth.AppRead)
	l := listing[cf.App]{
		resource: func(a *cf.App) cf.Resource { return a.Resource },
		metadata: func(a *cf.App) cf.Metadata { return a.Metadata },
		present:  presentApp,
	}
	return l.serve(r, where(r.view.Apps(), func(a *cf.App) bool { return a.Stack == s.Name && may(a.SpaceGUID) }))
}

func updateStack(r *request) (response, error) {
	s, err := r.stack()
	if err != nil {
		return response{}, err
	}
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	var body struct {
		Metadata *metadataBody `json:"metadata"`
		State    *string       `json:"state"` // cf update-stack
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.State != nil && *body.State != stackActive {
		return response{}, cf.ErrUnprocessable.With("State must be '%s': stacks that are not to be used any more are not there yet", stackActive)
	}
	patch, err := body.Metadata.patch()
	if err != nil {
		return response{}, err
	}
	s, err = r.store().UpdateStack(r.Context(), state.StackUpdate{GUID: s.GUID, Metadata: patch, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(presentStack(r, s))
}
