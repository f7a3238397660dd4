package api

// includedSpacesOf is "included" for rows of spaces, each only once.
func (r *request) includedSpacesOf(spaces, orgs bool, spaceGUIDs []string) map[string]any {
	out := map[string]any{}
	if spaces {
		out["spaces"] = r.includedSpaces(spaceGUIDs)
	}
	if orgs {
		var guids []string
		for _, s := range spaceGUIDs {
			guids = append(guids, r.orgOfSpace(s))
		}
		out["organizations"] = r.includedOrganizations(guids)
	}
	return out
}
