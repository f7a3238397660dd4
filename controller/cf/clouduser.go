package cf

// CloudUser says that a user of the log-in service is known to the Cloud
// Controller: only such users can be given roles. Name and origin are kept by
// the log-in service.
type CloudUser struct {
	Resource
	Metadata
}
