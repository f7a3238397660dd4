package cf

import (
	"encoding/json"
	"fmt"
)

// VCAPApplication is the environment variable VCAP_APPLICATION without what
// depends on the instance.
type VCAPApplication struct {
	APIURL          string         `json:"cf_api"`
	Limits          map[string]int `json:"limits"` // "fds"; with a process also "mem", "disk" in MiB
	ApplicationName string         `json:"application_name"`
	ApplicationURIs []string       `json:"application_uris"`
	Name            string         `json:"name"`
	SpaceName       string         `json:"space_name"`
	SpaceID         string         `json:"space_id"`
	OrgID           string         `json:"organization_id"`
	OrgName         string         `json:"organization_name"`
	URIs            []string       `json:"uris"`
	Users           any            `json:"users"` // always null
	ApplicationID   string         `json:"application_id"`
	ProcessID       string         `json:"process_id,omitempty"`
	ProcessType     string         `json:"process_type,omitempty"`
	Version         string         `json:"version,omitempty"`
	AppVersion      string         `json:"application_version,omitempty"`
}

// OpenFiles is how many open files an instance may have.
const OpenFiles = 16384

// NewVCAPApplication fills in what is known of an app. URIs are host and path
// of its routes.
func NewVCAPApplication(apiURL string, a App, s Space, o Organization, uris []string) VCAPApplication {
	if uris == nil {
		uris = []string{}
	}
	return VCAPApplication{
		APIURL: apiURL, Limits: map[string]int{"fds": OpenFiles},
		ApplicationName: a.Name, Name: a.Name, ApplicationID: a.GUID, ApplicationURIs: uris, URIs: uris,
		SpaceName: s.Name, SpaceID: s.GUID, OrgID: o.GUID, OrgName: o.Name,
	}
}

// vcapService is an entry of VCAP_SERVICES.
type vcapService struct {
	Label          string          `json:"label"`
	Name           string          `json:"name"`
	Tags           []string        `json:"tags"`
	InstanceGUID   string          `json:"instance_guid"`
	InstanceName   string          `json:"instance_name"`
	BindingGUID    string          `json:"binding_guid"`
	BindingName    *string         `json:"binding_name"`
	Credentials    json.RawMessage `json:"credentials"`
	SyslogDrainURL *string         `json:"syslog_drain_url"`
	VolumeMounts   []any           `json:"volume_mounts"`
}

// VCAPServices makes the environment variable VCAP_SERVICES; open returns the
// credentials of a bound service, a JSON object.
func VCAPServices(bound []BoundService, open func(BoundService) ([]byte, error)) (json.RawMessage, error) {
	out := map[string][]vcapService{}
	for _, b := range bound {
		credentials, err := open(b)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", b.InstanceName, err)
		}
		v := vcapService{
			Label: b.Label, Name: b.InstanceName, Tags: b.Tags, Credentials: credentials,
			InstanceGUID: b.InstanceGUID, InstanceName: b.InstanceName, BindingGUID: b.BindingGUID,
			VolumeMounts: []any{},
		}
		if v.Tags == nil {
			v.Tags = []string{}
		}
		if b.BindingName != "" {
			v.Name, v.BindingName = b.BindingName, &b.BindingName
		}
		if b.SyslogDrainURL != "" {
			v.SyslogDrainURL = &b.SyslogDrainURL
		}
		out[b.Label] = append(out[b.Label], v)
	}
	return json.Marshal(out)
}
