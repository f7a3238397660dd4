package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stackato/stackato/controller/cf"
)

func TestPages(t *testing.T) {
	c := newCloud(t)
	for i := range 7 {
		c.newOrg(fmt.Sprintf("org%d", i))
	}
	p := c.admin("GET", "/v3/organizations?per_page=3&order_by=-name&page=2", nil).want(200)
	p.mustHave("name", "org3 org2 org1")
	for path, want := range map[string]string{
		"pagination.total_results": "7", "pagination.total_pages": "3",
		"pagination.first.href":    "http://api.stackato.test/v3/organizations?order_by=-name&page=1&per_page=3",
		"pagination.last.href":     "http://api.stackato.test/v3/organizations?order_by=-name&page=3&per_page=3",
		"pagination.next.href":     "http://api.stackato.test/v3/organizations?order_by=-name&page=3&per_page=3",
		"pagination.previous.href": "http://api.stackato.test/v3/organizations?order_by=-name&page=1&per_page=3",
	} {
		if got := p.get(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	last := c.admin("GET", "/v3/organizations?per_page=3&page=3&order_by=-name", nil)
	last.mustHave("name", "org0")
	if last.get("pagination.next") != "" {
		t.Error("the last page has a next one")
	}
	c.admin("GET", "/v3/organizations?per_page=5000", nil).mustHave("name", "org0 org1 org2 org3 org4 org5 org6")
	beyond := c.admin("GET", "/v3/organizations?page=9&per_page=3", nil)
	beyond.mustHave("name", "")
	if !strings.Contains(string(beyond.body), `"resources":[]`) {
		t.Errorf("an empty page needs its resources: %s", beyond.body)
	}
	// Following "next" comes by every row once.
	var seen []string
	for next := "/v3/organizations?per_page=2"; next != ""; {
		a := c.admin("GET", next, nil).want(200)
		seen = append(seen, a.names("name"))
		next = strings.TrimPrefix(a.get("pagination.next.href"), c.api.ExternalURL)
	}
	if got := strings.Join(seen, " "); got != "org0 org1 org2 org3 org4 org5 org6" {
		t.Errorf("all pages: %s", got)
	}
}

func TestFilters(t *testing.T) {
	c := newCloud(t)
	for name, labels := range map[string]any{
		"a":   map[string]any{"env": "prod", "tier": "gold"},
		"b,c": map[string]any{"env": "test"},
		"d":   map[string]any{},
	} {
		c.admin("POST", "/v3/organizations", map[string]any{"name": name, "metadata": map[string]any{"labels": labels}}).want(201)
	}
	guid := c.admin("GET", "/v3/organizations?names=d", nil).get("resources.0.guid")
	at := c.admin("GET", "/v3/organizations?names=d", nil).get("resources.0.created_at")
	for query, want := range map[string]string{
		"names=a,d": "a d",
		"names=" + url.QueryEscape("b%2Cc") + ",d": "b,c d",
		"names=b,c":         "",
		"names=":            "",
		"guids=" + guid:     "d",
		"created_ats=" + at: "d",
		"created_ats[gte]=" + at + "&created_ats[lte]=" + at:               "d",
		"created_ats[lt]=2020-01-01T00:00:00Z":                             "",
		"updated_ats[gt]=2020-01-01T00:00:00Z":                             "a b,c d",
		"label_selector=env":                                               "a b,c",
		"label_selector=!env":                                              "d",
		"label_selector=env=prod":                                          "a",
		"label_selector=env==prod,tier=gold":                               "a",
		"label_selector=env!=prod":                                         "b,c d",
		"label_selector=" + url.QueryEscape("env in (prod, test)"):         "a b,c",
		"label_selector=" + url.QueryEscape("env notin (prod),tier!=gold"): "b,c d",
		"order_by=-name":                                                   "d b,c a",
	} {
		t.Run(query, func(t *testing.T) {
			if !strings.Contains(query, "order_by") {
				query += "&order_by=name"
			}
			a := c.admin("GET", "/v3/organizations?"+query, nil)
			a.t = t
			a.mustHave("name", want)
		})
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	c := newCloud(t)
	for query, want := range map[string]string{
		"per_page=0":                "Per page must be between 1 and 5000",
		"per_page=5001":             "Per page must be between 1 and 5000",
		"page=0":                    "Page must be a positive integer",
		"page=-1":                   "Page must be a positive integer",
		"page=99999999999999999999": "Page must be a positive integer",
		"order_by=size":             "Order by can only be: 'created_at', 'name', 'updated_at'",
		"nmaes=a":                   "Unknown query parameter(s): 'nmaes'. Valid parameters are: 'page', 'per_page', 'order_by', 'guids', 'created_ats', 'updated_ats', 'label_selector', 'names'",
		"created_ats=yesterday":     "Created ats has an invalid timestamp format. Timestamps should be formatted as 'YYYY-MM-DDThh:mm:ssZ'",
		"label_selector=a in b":     "Label selector Invalid label_selector value",
		"label_selector=,":          "Label selector Invalid label_selector value",
	} {
		a := c.admin("GET", "/v3/organizations?"+strings.ReplaceAll(query, " ", "%20"), nil)
		a.fails(cf.ErrBadQuery, "The query parameter is invalid: "+want)
	}
	c.admin("GET", "/v3/spaces?include=apps", nil).fails(cf.ErrBadQuery, "The query parameter is invalid: Invalid included resource: 'apps'. Valid included resources are: 'org', 'organization'")
}

func TestMetadataRules(t *testing.T) {
	long := strings.Repeat("x", 64)
	value := func(v string) map[string]*string { return map[string]*string{"key": &v} }
	key := func(k string) map[string]*string { return map[string]*string{k: nil} }
	for _, tt := range []struct {
		name string
		body metadataBody
		good bool
	}{
		{"plain", metadataBody{Labels: value("value-1.2_3")}, true},
		{"empty value", metadataBody{Labels: value("")}, true},
		{"long value", metadataBody{Labels: value(long)}, false},
		{"bad value", metadataBody{Labels: value("a b")}, false},
		{"value that begins with a dash", metadataBody{Labels: value("-a")}, false},
		{"prefix", metadataBody{Labels: key("example.com/key")}, true},
		{"prefix that is no DNS name", metadataBody{Labels: key("example_com/key")}, false},
		{"reserved prefix", metadataBody{Labels: key("cloudfoundry.org/key")}, false},
		{"two slashes", metadataBody{Labels: key("a.b/c/d")}, false},
		{"long key", metadataBody{Labels: key(long)}, false},
		{"no key", metadataBody{Labels: key("")}, false},
		{"annotation of any text", metadataBody{Annotations: value("any text: " + long)}, true},
		{"annotation over 5000", metadataBody{Annotations: value(strings.Repeat("x", 5001))}, false},
	} {
		if _, err := tt.body.patch(); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzLabelSelector(f *testing.F) {
	for _, s := range []string{"a=b", "a!=b", "!a", "a in (b,c)", "a notin (b)", "a,,b", "((", "x/y=z", "a in ()"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := parseSelector(s)
		if err != nil {
			return
		}
		for _, p := range parts {
			if !goodKey(p.key) {
				t.Errorf("%q: key %q was taken", s, p.key)
			}
			labels := map[string]string{}
			if len(p.values) > 0 {
				labels[p.key] = p.values[0]
				if p.matches(labels) == p.not {
					t.Errorf("%q: %+v says the opposite for its own value", s, p)
				}
			}
		}
	})
}

func FuzzRouteAddress(f *testing.F) {
	f.Add("shop", "/a/b")
	f.Add("*", "")
	f.Add("a.b", "/?")
	f.Add("", "/a b")
	f.Fuzz(func(t *testing.T, host, path string) {
		if addressProblems(host, path) != nil {
			return
		}
		u, err := url.Parse("http://" + (cf.Route{Host: strings.ReplaceAll(host, "*", "any"), Path: path}).URL("apps.test"))
		if err != nil || u.Path == "" && path != "" || u.RawQuery != "" || u.Fragment != "" || !strings.HasSuffix(u.Host, "apps.test") || u.Port() != "" {
			t.Errorf("host %q and path %q were taken and make %v, %v", host, path, u, err)
		}
	})
}
