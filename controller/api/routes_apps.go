package api

import "slices"

// appRoutes are the calls of apps and what belongs to them.
func (a *API) appRoutes() []route {
	return slices.Concat[[]route]()
}
