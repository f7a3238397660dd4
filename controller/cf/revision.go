package cf

// Revision is what an app ran with from one of its starts on.
type Revision struct {
	Resource
	Metadata
	AppRun
	AppGUID     string `json:"app_guid"`
	Version     int    `json:"version"`
	DropletGUID string `json:"droplet_guid"`
	Description string `json:"description"`
}
