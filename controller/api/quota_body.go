package api

import "github.com/stackato/stackato/controller/cf"

// quotaJSON is a quota as shown; a limit that is null is unlimited.
type quotaJSON struct {
	head
	Name          string         `json:"name"`
	Apps          quotaApps      `json:"apps"`
	Services      quotaServices  `json:"services"`
	Routes        quotaRoutes    `json:"routes"`
	Domains       *quotaDomains  `json:"domains,omitempty"` // of organization quotas
	Relationships map[string]any `json:"relationships"`
	Links         links          `json:"links"`
}

type quotaApps struct {
	Memory         *int `json:"total_memory_in_mb"`
	InstanceMemory *int `json:"per_process_memory_in_mb"`
	Instances      *int `json:"total_instances"`
	Tasks          *int `json:"per_app_tasks"`
	LogRate        *int `json:"log_rate_limit_in_bytes_per_second"`
}

type quotaServices struct {
	Paid      bool `json:"paid_services_allowed"`
	Instances *int `json:"total_service_instances"`
	Keys      *int `json:"total_service_keys"`
}

type quotaRoutes struct {
	Total         *int `json:"total_routes"`
	ReservedPorts *int `json:"total_reserved_ports"`
}

type quotaDomains struct {
	Total *int `json:"total_domains"`
}

// quotaUsers are the organizations or spaces that a quota is given to, as far
// as the user sees them.
func quotaUsers(r *request, q cf.Quota) []string {
	var out []string
	if q.OrgGUID != "" {
		for _, s := range r.view.SpacesWithQuota(q.GUID) {
			out = append(out, s.GUID)
		}
		return out
	}
	for _, o := range r.view.Organizations() {
		if o.QuotaGUID == q.GUID || o.QuotaGUID == "" && q.Name == cf.DefaultQuota {
			out = append(out, o.GUID)
		}
	}
	return out
}

func presentQuota(r *request, q cf.Quota) any {
	out := quotaJSON{
		head: headOf(q.Resource), Name: q.Name,
		Apps:     quotaApps{q.MemoryMB, q.InstanceMemoryMB, q.Instances, q.AppTasks, q.LogRateBytes},
		Services: quotaServices{q.PaidServices, q.ServiceInstances, q.ServiceKeys},
		Routes:   quotaRoutes{q.Routes, q.ReservedPorts},
	}
	if q.OrgGUID == "" {
		out.Domains = &quotaDomains{q.Limits.Domains}
		out.Relationships = map[string]any{"organizations": toMany(quotaUsers(r, q))}
		out.Links = links{"self": {Href: r.link("/v3/organization_quotas/", q.GUID)}}
		return out
	}
	out.Relationships = map[string]any{"organization": toOne(q.OrgGUID), "spaces": toMany(quotaUsers(r, q))}
	out.Links = links{
		"self":         {Href: r.link("/v3/space_quotas/", q.GUID)},
		"organization": {Href: r.link("/v3/organizations/", q.OrgGUID)},
	}
	return out
}

// quotaBody is what can be set; null takes a limit away.
type quotaBody struct {
	Name *string `json:"name"`
	Apps struct {
		Memory         optional[*int] `json:"total_memory_in_mb"`
		InstanceMemory optional[*int] `json:"per_process_memory_in_mb"`
		Instances      optional[*int] `json:"total_instances"`
		Tasks          optional[*int] `json:"per_app_tasks"`
		LogRate        optional[*int] `json:"log_rate_limit_in_bytes_per_second"`
	} `json:"apps"`
	Services struct {
		Paid      *bool          `json:"paid_services_allowed"`
		Instances optional[*int] `json:"total_service_instances"`
		Keys      optional[*int] `json:"total_service_keys"`
	} `json:"services"`
	Routes struct {
		Total         optional[*int] `json:"total_routes"`
		ReservedPorts optional[*int] `json:"total_reserved_ports"`
	} `json:"routes"`
	Domains struct {
		Total optional[*int] `json:"total_domains"`
	} `json:"domains"`
	Relationships struct {
		Organization  *relation `json:"organization"`
		Organizations relations `json:"organizations"`
		Spaces        relations `json:"spaces"`
	} `json:"relationships"`
}

// apply sets the limits that the body names.
func (b quotaBody) apply(l *cf.Limits, p *problems) {
	for _, f := range []struct {
		name string
		in   optional[*int]
		out  **int
	}{
		{"Total memory in mb", b.Apps.Memory, &l.MemoryMB},
		{"Per process memory in mb", b.Apps.InstanceMemory, &l.InstanceMemoryMB},
		{"Total instances", b.Apps.Instances, &l.Instances},
		{"Per app tasks", b.Apps.Tasks, &l.AppTasks},
		{"Log rate limit in bytes per second", b.Apps.LogRate, &l.LogRateBytes},
		{"Total service instances", b.Services.Instances, &l.ServiceInstances},
		{"Total service keys", b.Services.Keys, &l.ServiceKeys},
		{"Total routes", b.Routes.Total, &l.Routes},
		{"Total reserved ports", b.Routes.ReservedPorts, &l.ReservedPorts},
		{"Total domains", b.Domains.Total, &l.Domains},
	} {
		if !f.in.set {
			continue
		}
		*f.out = nil
		if f.in.value != nil {
			v := *f.in.value
			p.check(v >= 0 && v < 1<<31, f.name+" must be greater than or equal to 0 and less than 2147483648")
			*f.out = &v
		}
	}
	l.PaidServices = deref(b.Services.Paid, l.PaidServices)
}
