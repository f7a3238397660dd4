package api

import "slices"

// appRoutes are the calls of apps and what belongs to them.
func (a *API) appRoutes() []route {
	return slices.Concat(
		a.appsRoutes(),
		a.appRunRoutes(),
		a.appEnvRoutes(),
		a.processRoutes(),
		a.packageRoutes(),
		a.resourceMatchRoutes(),
		a.buildRoutes(),
		a.dropletRoutes(),
		a.deploymentRoutes(),
		a.revisionRoutes(),
		a.taskRoutes(),
		a.sidecarRoutes(),
		a.serviceInstanceRoutes(),
		a.serviceBindingRoutes(),
		a.serviceOfferingRoutes(),
		a.spaceManifestRoutes(),
		a.appManifestRoutes(),
	)
}
