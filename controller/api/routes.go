package api

import "slices"

// routes is every call of the API, in the order of the documentation.
func (a *API) routes() []route {
	return slices.Concat(
		a.rootRoutes(),
		a.appRoutes(),
		a.jobRoutes(),
	)
}
