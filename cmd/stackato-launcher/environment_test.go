package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/wire/instance"
)

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/image/bin")
	t.Setenv("NOMAD_SECRETS_DIR", "/secrets")
	spec := instance.Spec{
		AppName: "my-app", MemoryMB: 128, Application: json.RawMessage(`{"application_id":"g","uris":["a.b"]}`),
		Services: json.RawMessage(`{"mysql":[{"name":"db","credentials":{"port":3306}}],"user-provided":[{"name":"q","credentials":null}]}`),
		Env: map[string]string{
			"PORT": "1", "HOME": "/", "LANG": "C", "NODE_EXTRA_CA_CERTS": "/own", "GREETING": "hello world", "JAVA_TOOL_OPTIONS": "-Xss1m",
			"BAD=NAME": "x", "ZERO": "a\x00b",
		},
	}
	app := instance.Launch{Spec: spec, InstanceGUID: "alloc", Index: 3, Host: "10.0.0.1", Port: 20001, InternalIP: "172.17.0.2"}
	task := app
	task.Spec.TaskName, task.Port = "migrate", 0
	always := map[string]string{
		"PATH": "/image/bin", "LANG": "C", "GREETING": "hello world", "HOME": "/home/vcap/app", "USER": "vcap", "TMPDIR": "/home/vcap/tmp", "DEPS_DIR": "/home/vcap/deps",
		"MEMORY_LIMIT": "128m", "INSTANCE_GUID": "alloc", "INSTANCE_INDEX": "3", "CF_INSTANCE_GUID": "alloc", "CF_INSTANCE_INDEX": "3",
		"CF_INSTANCE_IP": "10.0.0.1", "CF_INSTANCE_INTERNAL_IP": "172.17.0.2", "VCAP_SERVICES": string(spec.Services),
		"STACKATO_APP_NAME": "my-app", "STACKATO_APP_NAME_UPCASE": "MY_APP", "STACKATO_APP_ROOT": "/home/vcap", "STACKATO_DOCUMENT_ROOT": "/home/vcap/app",
		"STACKATO_SERVICES": `{"db":{"port":3306},"q":{}}`,
	}
	certificates := map[string]string{
		"SSL_CERT_FILE": "/c/ca", "NODE_EXTRA_CA_CERTS": "/own", "REQUESTS_CA_BUNDLE": "/c/ca", "PIP_CERT": "/c/ca", "CURL_CA_BUNDLE": "/c/ca",
		"GIT_SSL_CAINFO": "/c/ca", "CF_SYSTEM_CERT_PATH": defaultPlaces.certificates,
		"JAVA_TOOL_OPTIONS": "-Djavax.net.ssl.trustStore=/etc/cf-system-certificates/trusted-ca.jks -Xss1m",
	}
	tests := map[string]struct {
		launch instance.Launch
		bundle string
		want   map[string]string
	}{
		"app": {app, "/c/ca", map[string]string{
			"PORT": "8080", "VCAP_APP_PORT": "8080", "VCAP_APP_HOST": "0.0.0.0", "CF_INSTANCE_PORT": "20001", "CF_INSTANCE_ADDR": "10.0.0.1:20001",
			"CF_INSTANCE_PORTS": `[{"external":20001,"internal":8080}]`,
			"VCAP_APPLICATION":  `{"application_id":"g","host":"0.0.0.0","instance_id":"alloc","instance_index":3,"port":8080,"uris":["a.b"]}`,
		}},
		"task without a bundle": {task, "", map[string]string{
			"PORT": "1", "NODE_EXTRA_CA_CERTS": "/own", "JAVA_TOOL_OPTIONS": "-Xss1m",
			"VCAP_APPLICATION": `{"application_id":"g","host":"0.0.0.0","instance_id":"alloc","instance_index":3,"uris":["a.b"]}`,
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := environment(tt.launch, defaultPlaces, tt.bundle)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			parts := []map[string]string{always, tt.want}
			if tt.bundle != "" {
				parts = append(parts, certificates)
			}
			for _, part := range parts {
				want = append(want, pairs(part)...)
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnvironmentRefusesNonsense(t *testing.T) {
	for name, spec := range map[string]instance.Spec{
		"VCAP_APPLICATION": {Application: json.RawMessage(`[]`)},
		"VCAP_SERVICES":    {Services: json.RawMessage(`"x"`)},
	} {
		if _, err := environment(instance.Launch{Spec: spec}, defaultPlaces, ""); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
