package uaa

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSecondAdministrator: the scope comes with the next token, and goes at
// once.
func TestSecondAdministrator(t *testing.T) {
	h := newHarness(t)
	id := h.newUser("bob")
	root := h.as("admin", "secret").text("access_token")
	rootID := payload(t, root)["user_id"].(string)
	const group = "/Groups/cloud_controller.admin"
	members := func() []string {
		var out []string
		for _, m := range h.call(root, "GET", group, "").body["members"].([]any) {
			out = append(out, m.(map[string]any)["value"].(string))
		}
		slices.Sort(out)
		return out
	}
	both := []string{id, rootID}
	slices.Sort(both)

	if r := h.call(root, "POST", group+"/members", `{"value":"`+id+`","type":"USER","origin":"uaa"}`); r.status != 201 {
		t.Fatal(r.raw)
	}
	if diff := cmp.Diff(both, members()); diff != "" {
		t.Error(diff)
	}
	bob := h.as("bob", "pw")
	if !strings.Contains(bob.text("scope"), "cloud_controller.admin") {
		t.Fatalf("scopes %q", bob.text("scope"))
	}
	if r := h.call(root, "DELETE", group+"/members/"+id, ""); r.status != 200 {
		t.Fatal(r.raw)
	}
	who, err := h.s.Verify(t.Context(), bob.text("access_token"))
	if err != nil || slices.Contains(who.Scopes, "cloud_controller.admin") || !slices.Contains(who.Scopes, "cloud_controller.read") {
		t.Errorf("after the removal: %v, %v", who.Scopes, err)
	}
	// As uaac does it.
	if r := h.call(root, "PUT", group, `{"displayName":"cloud_controller.admin","members":[{"value":"`+id+`"},{"value":"`+rootID+`"}]}`); r.status != 200 {
		t.Fatal(r.raw)
	}
	if diff := cmp.Diff(both, members()); diff != "" {
		t.Error(diff)
	}
	h.want(h.call(root, "PUT", group, `{"members":[{"value":"`+id+`"}]}`), 403, "access_denied", "first administrator")
	h.want(h.call(root, "DELETE", group+"/members/"+rootID, ""), 403, "access_denied", "first administrator")
	h.want(h.call(root, "POST", group+"/members", `{"value":"nobody"}`), 400, "invalid_request", "no user")
	h.want(h.call(root, "DELETE", group+"/members/nobody", ""), 404, "scim_resource_not_found", "")
	h.want(h.call(root, "GET", "/Groups/nothing", ""), 404, "scim_resource_not_found", "")
	ann := h.newUser("ann")
	h.want(h.call(h.as("ann", "pw").text("access_token"), "POST", group+"/members", `{"value":"`+ann+`"}`), 403, "insufficient_scope", "")
	found := h.call(root, "GET", "/Groups?filter=displayName+eq+%22scim.read%22", "")
	if found.body["totalResults"] != 1.0 {
		t.Errorf("filter: %s", found.raw)
	}
}

func TestClients(t *testing.T) {
	h := newHarness(t)
	h.newUser("bob")
	root, bob := h.as("admin", "secret").text("access_token"), h.as("bob", "pw").text("access_token")
	const body = `{"client_id":"ci","client_secret":"s1","authorized_grant_types":["client_credentials"],"authorities":["cloud_controller.read"],"access_token_validity":60}`
	h.want(h.call(bob, "POST", "/oauth/clients", body), 403, "insufficient_scope", "")
	r := h.call(root, "POST", "/oauth/clients", body)
	if r.status != 201 || strings.Contains(r.raw, "s1") || r.body["access_token_validity"] != 60.0 {
		t.Fatalf("create: %d %s", r.status, r.raw)
	}
	h.want(h.call(root, "POST", "/oauth/clients", body), 409, "invalid_client", "Client already exists: ci")
	token := func(secret string) response {
		return h.send(form("/oauth/token", "grant_type", "client_credentials", "client_id", "ci", "client_secret", secret))
	}
	first := token("s1")
	if first.status != 200 || first.body["expires_in"] != 60.0 {
		t.Fatal(first.raw)
	}
	if r := h.call(root, "PUT", "/oauth/clients/ci/secret", `{"secret":"s2"}`); r.status != 200 {
		t.Fatal(r.raw)
	}
	if h.valid(first.text("access_token")) || token("s1").status != 401 || token("s2").status != 200 {
		t.Error("the old secret is still good")
	}
	if r := h.call(root, "GET", "/oauth/clients", ""); r.body["totalResults"] != 3.0 || strings.Contains(r.raw, "argon2id") {
		t.Errorf("list: %s", r.raw)
	}
	if r := h.call(root, "DELETE", "/oauth/clients/ci", ""); r.status != 200 {
		t.Fatal(r.raw)
	}
	h.want(h.call(root, "DELETE", "/oauth/clients/ci", ""), 404, "not_found", "No client with requested id: ci")
	h.want(h.call(root, "DELETE", "/oauth/clients/cf", ""), 403, "access_denied", "belongs to the cluster")
	h.want(h.call(root, "PUT", "/oauth/clients/cf/secret", `{"secret":"x"}`), 403, "access_denied", "belongs to the cluster")
	for change, want := range map[string]string{
		`"client_id":"a b"`:                               "client_id must match",
		`"client_secret":""`:                              "client_secret",
		`"authorized_grant_types":[]`:                     "authorized_grant_types is needed",
		`"authorized_grant_types":["implicit"]`:           "implicit is not supported",
		`"authorities":[]`:                                "needs authorities",
		`"authorized_grant_types":["password"]`:           "needs scopes",
		`"access_token_validity":999999999`:               "access_token_validity",
		`"refresh_token_validity":999999999999`:           "refresh_token_validity",
		`"authorities":["a b"]`:                           "is no scope",
		`"authorized_grant_types":["authorization_code"]`: "authorization_code is not supported",
	} {
		broken := strings.TrimSuffix(strings.Replace(body, `"ci"`, `"other"`, 1), "}") + "," + change + "}"
		h.want(h.call(root, "POST", "/oauth/clients", broken), 400, "invalid_client", want)
	}
}
