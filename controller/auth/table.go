package auth

// Action is something that a user does with a kind of resource.
type Action string

// The actions. "read" decides between 404 and 403, so every resource has one.
const (
	SignedIn Action = "signed in" // any valid token

	GlobalRead  Action = "global.read"  // what belongs to no organization: quotas, all users
	GlobalWrite Action = "global.write" // quotas, shared domains, buildpacks, flags, groups, users

	OrgRead   Action = "organization.read"
	OrgUpdate Action = "organization.update"

	SpaceRead   Action = "space.read"
	SpaceCreate Action = "space.create" // and delete
	SpaceUpdate Action = "space.update"

	DomainRead  Action = "domain.read" // of a private domain; everybody reads shared ones
	DomainWrite Action = "domain.write"

	RouteRead   Action = "route.read"
	RouteCreate Action = "route.create" // and change and delete
	RouteMap    Action = "route.map"    // destinations

	OrgRoleWrite   Action = "organization_role.write"
	SpaceRoleWrite Action = "space_role.write"
	RoleRead       Action = "role.read"

	OrgQuotaRead    Action = "organization_quota.read"
	SpaceQuotaRead  Action = "space_quota.read"
	SpaceQuotaWrite Action = "space_quota.write"

	EventRead Action = "event.read"

	AppRead    Action = "app.read"    // app, processes, packages, droplets, builds, deployments, revisions, tasks
	AppSecrets Action = "app.secrets" // environment, task commands
	AppWrite   Action = "app.write"   // create, change, delete, environment, upload
	AppManage  Action = "app.manage"  // start, stop, scale, stage, deploy, tasks

	ServiceRead    Action = "service.read"
	ServiceSecrets Action = "service.secrets" // credentials
	ServiceWrite   Action = "service.write"   // create, change, delete instances
	ServiceBind    Action = "service.bind"
)

// inOrg are what roles of an organization may see in its spaces.
const readsSpace = globalReaders | OrgManager | spaceRoles

// Table is all that decides who may do what.
var Table = map[Action]Roles{
	SignedIn: anyone,

	GlobalRead:  globalReaders,
	GlobalWrite: Admin,

	OrgRead:   globalReaders | orgRoles,
	OrgUpdate: Admin | OrgManager,

	SpaceRead:   readsSpace,
	SpaceCreate: Admin | OrgManager,
	SpaceUpdate: Admin | OrgManager | SpaceManager,

	DomainRead:  globalReaders | OrgAuditor | OrgManager | spaceRoles,
	DomainWrite: Admin | OrgManager,

	RouteRead:   readsSpace | OrgAuditor,
	RouteCreate: Admin | SpaceDeveloper | SpaceSupporter,
	RouteMap:    Admin | SpaceDeveloper | SpaceSupporter,

	OrgRoleWrite:   Admin | OrgManager,
	SpaceRoleWrite: Admin | OrgManager | SpaceManager,
	RoleRead:       globalReaders | orgRoles | spaceRoles,

	OrgQuotaRead:    globalReaders | orgRoles,
	SpaceQuotaRead:  globalReaders | OrgManager | spaceRoles,
	SpaceQuotaWrite: Admin | OrgManager,

	EventRead: globalReaders | OrgAuditor | SpaceAuditor | SpaceSupporter | SpaceDeveloper,

	AppRead:    readsSpace,
	AppSecrets: Admin | AdminReadOnly | SpaceDeveloper,
	AppWrite:   Admin | SpaceDeveloper,
	AppManage:  Admin | SpaceDeveloper | SpaceSupporter,

	ServiceRead:    readsSpace,
	ServiceSecrets: Admin | AdminReadOnly | SpaceDeveloper,
	ServiceWrite:   Admin | SpaceDeveloper,
	ServiceBind:    Admin | SpaceDeveloper | SpaceSupporter,
}
