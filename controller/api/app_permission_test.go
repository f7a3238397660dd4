package api

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// appWorld is a server with one of everything that belongs to an app, and a
// user for each role.
type appWorld struct {
	*cloud
	p    *platform
	guid map[string]string
}

func newAppWorld(t *testing.T) *appWorld {
	t.Helper()
	p := newServer(t)
	w := &appWorld{cloud: p.cloud(), p: p, guid: map[string]string{"space": "dev-space"}}
	for _, u := range append([]string{"stranger"}, roleUsers...) {
		w.login(u)
	}
	for _, u := range roleUsers {
		if auth.Parse(u).IsOrg() {
			w.grant(u, u, "acme-guid").want(http.StatusCreated)
			continue
		}
		w.grant(u, "organization_user", "acme-guid").want(http.StatusCreated)
		w.grant(u, u, "dev-space").want(http.StatusCreated)
	}
	w.fillApp()
	return w
}

// fillApp makes a started app in a paused deployment.
func (w *appWorld) fillApp() {
	w.t.Helper()
	ctx, app := w.t.Context(), w.newApp("dev-space", "shop")
	now := time.Now().UTC()
	web, _ := w.store.Local().ProcessByType(app, cf.ProcessWeb)
	w.guid["app"], w.guid["process"] = app, web.GUID
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for i, name := range []string{"package", "empty"} {
		w.guid[name] = w.admin("POST", "/v3/packages", rel(map[string]any{"type": "bits"}, map[string]any{"app": data(app)})).want(201).guid()
		if i == 0 {
			b, err := w.p.blobs.Put(ctx, strings.NewReader("zip"), blob.Unlimited)
			must(err)
			ready := cf.PackageReady
			_, err = w.store.UpdatePackage(ctx, state.PackageUpdate{GUID: w.guid[name], State: &ready, Blob: &b, At: now})
			must(err)
		}
	}
	w.guid["build"] = w.admin("POST", "/v3/builds", map[string]any{"package": map[string]any{"guid": w.guid["package"]}}).want(201).guid()
	b, _ := w.store.Local().Build(w.guid["build"])
	if !w.p.finishBuild(ctx, b) {
		w.t.Fatal("the build did not end")
	}
	w.guid["droplet"] = "droplet-of-" + b.GUID
	w.admin("PATCH", "/v3/apps/"+app+"/relationships/current_droplet", data(w.guid["droplet"])).want(200)
	w.admin("POST", "/v3/apps/"+app+"/actions/start", nil).want(200)
	a, _ := w.store.Local().App(app)
	w.guid["revision"] = a.RevisionGUID
	w.guid["task"] = w.admin("POST", "/v3/apps/"+app+"/tasks", map[string]any{"command": "sleep 1"}).want(202).guid()
	w.guid["sidecar"] = w.admin("POST", "/v3/apps/"+app+"/sidecars", map[string]any{"name": "side", "command": "x", "process_types": []string{"web"}}).want(201).guid()
	w.guid["service"] = w.admin("POST", "/v3/service_instances", rel(map[string]any{"type": "user-provided", "name": "db", "credentials": map[string]any{"p": "q"}}, map[string]any{"space": data("dev-space")})).want(201).guid()
	w.guid["spare"] = w.admin("POST", "/v3/service_instances", rel(map[string]any{"type": "user-provided", "name": "spare"}, map[string]any{"space": data("dev-space")})).want(201).guid()
	w.guid["binding"] = w.admin("POST", "/v3/service_credential_bindings", rel(map[string]any{"type": "app"}, map[string]any{"app": data(app), "service_instance": data(w.guid["service"])})).want(201).guid()
	w.guid["deployment"] = w.admin("POST", "/v3/deployments", rel(map[string]any{"strategy": "canary"}, map[string]any{"app": data(app)})).want(201).guid()
	_, err := w.store.ProgressDeployment(ctx, state.DeploymentProgress{GUID: w.guid["deployment"], Pause: true, At: now})
	must(err)
}

func (w *appWorld) fill(text string) string {
	for k, v := range w.guid {
		text = strings.ReplaceAll(text, "{"+k+"}", v)
	}
	return text
}

// TestAppPermissionTable is TestPermissionTable for what belongs to apps.
func TestAppPermissionTable(t *testing.T) {
	users := append([]string{"admin", "global-auditor", "stranger"}, roleUsers...)
	const (
		//          admin gaud none | oUsr oAud oBil oMan | sAud sSup sDev sMan
		seen    = "200 200 404 | 404 404 404 200 | 200 200 200 200"
		secrets = "200 403 404 | 404 404 404 403 | 403 403 200 403"
		writes  = "200 403 404 | 404 404 404 403 | 403 403 200 403"
		manages = "200 403 404 | 404 404 404 403 | 403 200 200 403"
	)
	rels := func(fields string) string {
		return `{` + fields + `"relationships":{"app":{"data":{"guid":"{app}"}}}}`
	}
	with := func(status, row string) string { return strings.ReplaceAll(row, "200", status) }
	named := func(status, row string) string { return strings.ReplaceAll(with(status, row), "404", "422") }
	const metadata = `{"metadata":{"labels":{"a":"b"}}}`
	table := []struct{ request, body, want string }{
		{"POST /v3/apps", `{"name":"new","relationships":{"space":{"data":{"guid":"{space}"}}}}`, named("201", writes)},
		{"GET /v3/apps/{app}/env", "", secrets},
		{"GET /v3/apps/{app}/environment_variables", "", secrets},
		{"PATCH /v3/apps/{app}/environment_variables", `{"var":{"A":"b"}}`, writes},
		{"GET /v3/apps/{app}/permissions", "", seen},
		{"GET /v3/apps/{app}/ssh_enabled", "", seen},
		{"GET /v3/apps/{app}/features", "", seen},
		{"PATCH /v3/apps/{app}/features/ssh", `{"enabled":false}`, writes},
		{"GET /v3/apps/{app}/manifest", "", secrets},
		{"POST /v3/spaces/{space}/actions/apply_manifest", "applications: [{name: other}]", with("202", writes)},
		{"POST /v3/spaces/{space}/manifest_diff", "applications: [{name: shop, memory: 1G}]", with("201", secrets)},
		{"POST /v3/apps/{app}/actions/start", "", manages},
		{"POST /v3/apps/{app}/actions/restart", "", manages},
		{"GET /v3/processes/{process}", "", seen},
		{"GET /v3/apps/{app}/processes/web", "", seen},
		{"GET /v3/processes/{process}/stats", "", seen},
		{"GET /v3/processes/{process}/sidecars", "", seen},
		{"PATCH /v3/processes/{process}", `{"command":"x"}`, writes},
		{"POST /v3/processes/{process}/actions/scale", `{"instances":2}`, with("202", manages)},
		{"DELETE /v3/processes/{process}/instances/0", "", with("204", manages)},
		{"GET /v3/packages/{package}", "", seen},
		{"POST /v3/packages", rels(`"type":"bits",`), named("201", writes)},
		{"PATCH /v3/packages/{package}", metadata, writes},
		{"DELETE /v3/packages/{package}", "", with("202", writes)},
		{"GET /v3/packages/{package}/download", "", writes},
		{"GET /v3/packages/{package}/droplets", "", seen},
		{"POST /v3/builds", `{"package":{"guid":"{package}"}}`, named("201", manages)},
		{"GET /v3/builds/{build}", "", seen},
		{"PATCH /v3/builds/{build}", metadata, writes},
		{"GET /v3/droplets/{droplet}", "", seen},
		{"GET /v3/apps/{app}/droplets/current", "", seen},
		{"POST /v3/droplets", rels(""), named("201", writes)},
		{"PATCH /v3/droplets/{droplet}", metadata, writes},
		{"DELETE /v3/droplets/{droplet}", "", with("202", writes)},
		{"GET /v3/droplets/{droplet}/download", "", writes},
		{"PATCH /v3/apps/{app}/relationships/current_droplet", `{"data":{"guid":"{droplet}"}}`, manages},
		{"GET /v3/deployments/{deployment}", "", seen},
		{"POST /v3/deployments", rels(""), named("201", manages)},
		{"PATCH /v3/deployments/{deployment}", metadata, writes},
		{"POST /v3/deployments/{deployment}/actions/continue", "", manages},
		{"POST /v3/deployments/{deployment}/actions/cancel", "", manages},
		{"GET /v3/revisions/{revision}", "", seen},
		{"PATCH /v3/revisions/{revision}", metadata, writes},
		{"GET /v3/revisions/{revision}/environment_variables", "", secrets},
		{"GET /v3/apps/{app}/revisions/deployed", "", seen},
		{"GET /v3/tasks/{task}", "", seen},
		{"POST /v3/apps/{app}/tasks", `{"command":"ls"}`, with("202", manages)},
		{"PATCH /v3/tasks/{task}", metadata, writes},
		{"PUT /v3/tasks/{task}/cancel", "", with("202", manages)},
		{"GET /v3/sidecars/{sidecar}", "", seen},
		{"POST /v3/apps/{app}/sidecars", `{"name":"n","command":"c","process_types":["web"]}`, with("201", writes)},
		{"PATCH /v3/sidecars/{sidecar}", `{"command":"x"}`, writes},
		{"DELETE /v3/sidecars/{sidecar}", "", with("204", writes)},
		{"GET /v3/service_instances/{service}", "", seen},
		{"GET /v3/service_instances/{service}/credentials", "", secrets},
		{"POST /v3/service_instances", `{"type":"user-provided","name":"n","relationships":{"space":{"data":{"guid":"{space}"}}}}`, named("201", writes)},
		{"PATCH /v3/service_instances/{service}", `{"name":"n"}`, writes},
		{"DELETE /v3/service_instances/{service}", "", with("204", writes)},
		{"GET /v3/service_credential_bindings/{binding}", "", seen},
		{"GET /v3/service_credential_bindings/{binding}/details", "", secrets},
		{"PATCH /v3/service_credential_bindings/{binding}", metadata, manages},
		{"DELETE /v3/service_credential_bindings/{binding}", "", with("204", manages)},
		{"POST /v3/service_credential_bindings", `{"type":"app","relationships":{"app":{"data":{"guid":"{app}"}},"service_instance":{"data":{"guid":"{spare}"}}}}`, named("201", manages)},
	}
	for _, tt := range table {
		t.Run(tt.request, func(t *testing.T) {
			t.Parallel()
			want := strings.Fields(strings.ReplaceAll(tt.want, "|", ""))
			method, path, _ := strings.Cut(tt.request, " ")
			order := []int{} // who is refused comes first: they leave the world as it is
			for i := range users {
				order = append(order, i)
			}
			slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(want[b][:1], want[a][:1]) })
			w, used := newAppWorld(t), false
			for _, i := range order {
				user := users[i]
				if used {
					w = newAppWorld(t)
				}
				var body any
				if tt.body != "" {
					body = w.fill(tt.body)
				}
				got := w.as(user, method, w.fill(path), body)
				if strconv.Itoa(got.status) != want[i] {
					t.Errorf("%s gets %d, want %s: %s", user, got.status, want[i], got.body)
				}
				used = method != "GET" && want[i][0] == '2'
			}
		})
	}
}

// TestSecretsAreSealed looks for secrets in everything that the state keeps.
func TestSecretsAreSealed(t *testing.T) {
	w := newAppWorld(t)
	app := w.guid["app"]
	w.admin("PATCH", "/v3/apps/"+app+"/environment_variables", `{"var":{"KEY":"very-secret-value"}}`).want(200)
	w.admin("PATCH", "/v3/service_instances/"+w.guid["service"], `{"credentials":{"password":"very-secret-password"}}`).want(200)
	w.admin("POST", "/v3/apps/"+app+"/actions/restart", nil).want(200)
	w.admin("POST", "/v3/apps/"+app+"/tasks", `{"command":"ls"}`).want(202)
	if got := w.admin("GET", "/v3/apps/"+app+"/env", nil).want(200); !bytes.Contains(got.body, []byte("very-secret-value")) || !bytes.Contains(got.body, []byte("very-secret-password")) {
		t.Fatalf("env does not show the secrets: %s", got.body)
	}
	if dump := w.p.dump(); bytes.Contains(dump, []byte("very-secret")) {
		t.Errorf("the state shows a secret: %s", dump)
	} else if !bytes.Contains(dump, []byte(app)) {
		t.Error("the dump does not even show the app")
	}
}

// TestAppListsByFilter looks for what belongs to an app in every way.
func TestAppListsByFilter(t *testing.T) {
	w := newAppWorld(t)
	other := w.newApp("other-space", "other")
	for _, tt := range []struct{ query, want string }{
		{"", "web web"},
		{"?space_guids=dev-space", "web"},
		{"?space_guids=nowhere", ""},
		{"?space_guids=", ""},
		{"?app_guids=" + other, "web"},
		{"?app_guids=" + other + "&space_guids=dev-space", ""},
		{"?organization_guids=acme-guid", "web web"},
		{"?types=worker", ""},
	} {
		w.admin("GET", "/v3/processes"+tt.query, nil).mustHave("type", tt.want)
	}
	for _, path := range []string{"packages?states=READY", "builds", "droplets", "deployments", "tasks", "processes"} {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		w.as("space_developer", "GET", "/v3/"+path+sep+"app_guids="+w.guid["app"], nil).mustHave("relationships.app.data.guid", w.guid["app"])
		w.as("stranger", "GET", "/v3/"+path, nil).mustHave("guid", "")
	}
}
