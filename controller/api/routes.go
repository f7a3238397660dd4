package api

import "slices"

// routes is every call of the API, in the order of the documentation.
func (a *API) routes() []route {
	return slices.Concat(
		a.rootRoutes(),
		a.organizationRoutes(),
		a.spaceRoutes(),
		a.userRoutes(),
		a.roleRoutes(),
		a.domainRoutes(),
		a.routeRoutes(),
		a.appRoutes(),
		a.quotaRoutes(),
		a.featureFlagRoutes(),
		a.envGroupRoutes(),
		a.stackRoutes(),
		a.buildpackRoutes(),
		a.auditEventRoutes(),
		a.jobRoutes(),
		a.notYetRoutes(),
	)
}
