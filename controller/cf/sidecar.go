package cf

// Origins of a sidecar.
const (
	SidecarUser      = "user"
	SidecarBuildpack = "buildpack"
)

// Sidecar is a process that runs in the containers of some process types.
type Sidecar struct {
	Resource
	AppGUID      string   `json:"app_guid"`
	Name         string   `json:"name"`
	Command      string   `json:"command"`
	ProcessTypes []string `json:"process_types"`
	MemoryMB     int      `json:"memory_mb,omitempty"` // 0 is no limit of its own
	Origin       string   `json:"origin"`
}
