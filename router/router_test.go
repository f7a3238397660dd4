package router_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

func TestRoutes(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	_, one := app(t, "one", says("one"))
	_, two := app(t, "two", says("two"))
	feed.set(routeTo("app.example.com", "", one))
	feed.set(routeTo("app.example.com", "/two", two))
	feed.set(routeTo("*.example.com", "", two))
	feed.set(routeTo("none.example.com", ""))
	eventually(t, "all routes", func() bool { return r.Position().Version == 4 })
	tests := []struct {
		url, text string
		status    int
	}{
		{"http://app.example.com/", "one", 200},
		{"http://APP.example.com:8080/x?y=z", "one", 200},
		{"http://app.example.com/two/x", "two", 200},
		{"http://other.example.com/", "two", 200},
		{"http://none.example.com/", "503 Service Unavailable: Requested route ('none.example.com') has no available endpoints.\n", 503},
		{"http://example.org/", "404 Not Found: Requested route ('example.org') does not exist.\n", 404},
	}
	for _, tt := range tests {
		if got := r.get(t, tt.url); got.StatusCode != tt.status || got.text != tt.text {
			t.Errorf("%s: %d %q, want %d %q", tt.url, got.StatusCode, got.text, tt.status, tt.text)
		}
	}
	feed.set(routing.Route{Key: routing.Key{Host: "app.example.com", Path: "/two"}})
	eventually(t, "route removed", func() bool { return r.get(t, "http://app.example.com/two").text == "one" })
}

func TestHeadersThatAppsGet(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	var got http.Header
	_, b := app(t, "alloc-1", func(w http.ResponseWriter, req *http.Request) {
		got = req.Header.Clone()
		w.Header().Set("X-Cf-RouterError", "a lie")
		w.Header().Set("X-Vcap-Request-Id", "a lie")
		io.WriteString(w, req.Host+" "+req.RequestURI)
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	a := r.get(t, "http://app.example.com:81/a%2Fb?x=1;y=%zz", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil",
		"X-Forwarded-Client-Cert", "evil", "Forwarded", "for=evil", "X_Forwarded_Proto", "https", "X-Vcap-Request-Id", "evil",
		"X-Cf-Applicationid", "evil", "Connection", "X-Forwarded-For, X-Cf-InstanceId, X-Own", "X-Own", "1", "X-Kept", "1", "X-Real-Ip", "evil", "Proxy", "http://evil/")
	if want := "app.example.com:81 /a%2Fb?x=1;y=%zz"; a.text != want {
		t.Errorf("the app sees %q, want %q", a.text, want)
	}
	id := a.Header.Get("X-Vcap-Request-Id")
	if n := len(a.Header.Values("X-Vcap-Request-Id")); n != 1 {
		t.Errorf("%d request ids", n)
	}
	if !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) {
		t.Errorf("request id %q", id)
	}
	if a.Header.Get("X-Cf-RouterError") != "" {
		t.Error("an app speaks for the router")
	}
	if !regexp.MustCompile(`^\d{13}$`).MatchString(got.Get("X-Request-Start")) {
		t.Errorf("X-Request-Start %q", got.Get("X-Request-Start"))
	}
	got.Del("X-Request-Start")
	want := http.Header{
		"Accept-Encoding": {"gzip"}, "User-Agent": {"Go-http-client/1.1"}, "X-Kept": {"1"},
		"X-Forwarded-For": {"1.2.3.4, 127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"app.example.com:81"},
		"X-Forwarded-Port": {"81"}, "X-Vcap-Request-Id": {id}, "X-Cf-Applicationid": {"app"}, "X-Cf-Instanceid": {"alloc-1"}, "X-Cf-Instanceindex": {"0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSystemHosts(t *testing.T) {
	got := make(chan http.Header, 10)
	controller := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		got <- req.Header.Clone()
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(w, "%s %s %d", req.Method, req.Host, len(body))
	}))
	t.Cleanup(controller.Close)
	gone := loopback(t)
	gone.Close()
	feed := newControllers()
	feed.system = &routing.System{Hosts: []string{"api.example.com"}, Targets: []string{gone.Addr().String(), controller.Listener.Addr().String()}}
	_, thief := app(t, "thief", says("stolen"))
	feed.set(routeTo("api.example.com", "", thief))
	r := start(t, feed, nil)
	eventually(t, "snapshot", func() bool { return r.Position().Version > 0 })
	for range 4 { // one of two controllers is gone
		a := r.do(t, http.MethodPost, "http://api.example.com/v3/apps", strings.NewReader(strings.Repeat("x", 1<<20)), "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Client-Cert", "evil")
		if want := "POST api.example.com 1048576"; a.text != want {
			t.Fatalf("got %d %q, want %q", a.StatusCode, a.text, want)
		}
		h := <-got
		if h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("X-Forwarded-Client-Cert") != "" || h.Get("X-Vcap-Request-Id") == "" {
			t.Errorf("the controller gets %v", h)
		}
	}
}

func TestAccessLog(t *testing.T) {
	feed := newControllers()
	file := filepath.Join(t.TempDir(), "access.log")
	var app1 lines
	r := start(t, feed, func(c *router.Config) { c.AccessLog, c.Log = file, app1.add })
	_, b := app(t, "alloc-1", says("hello"))
	b.Index = 3
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	r.do(t, http.MethodPost, "http://app.example.com/p?q=1", strings.NewReader("12345678"), "User-Agent", `ag"ent`, "Referer", "http://ref/")
	r.get(t, "http://unknown.example.com/")
	var text string
	eventually(t, "lines written", func() bool {
		data, _ := os.ReadFile(file)
		text = string(data)
		return strings.Contains(text, "unknown.example.com")
	})
	want := regexp.MustCompile(`(?m)^app\.example\.com - \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\] "POST /p\?q=1 HTTP/1\.1" 200 8 5 "http://ref/" "ag\\"ent" "127\.0\.0\.1:\d+" "` +
		regexp.QuoteMeta(b.Address) + `" x_forwarded_for:"127\.0\.0\.1" x_forwarded_proto:"http" vcap_request_id:"[0-9a-f-]{36}" response_time:\d+\.\d{6} gorouter_time:\d+\.\d{6} app_id:"app" app_index:"3" instance_id:"alloc-1" x_cf_routererror:"-"$`)
	if !want.MatchString(text) {
		t.Errorf("no line matches\n%s\nin\n%s", want, text)
	}
	if !strings.Contains(text, `x_cf_routererror:"unknown_route"`) {
		t.Errorf("no unknown_route in\n%s", text)
	}
	found := false
	for _, l := range app1.get() {
		found = found || l.AppGUID == "app" && l.SourceType == "RTR" && l.InstanceID == "0" && l.Time > 0 && want.Match(l.Message)
		if strings.Contains(string(l.Message), "unknown.example.com") {
			t.Error("a request for no app is in an app's log")
		}
	}
	if !found {
		t.Errorf("no RTR line in %v", app1.get())
	}
}
