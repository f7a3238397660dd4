package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/stackato/stackato/wire/instance"
)

// environment returns the whole environment of an app, sorted. Nothing is
// taken over from the launcher's own but PATH. bundle is the file of trusted
// authorities, "" without one.
func environment(l instance.Launch, p places, bundle string) ([]string, error) {
	env := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin",
		"LANG": "C.UTF-8",
	}
	if path := os.Getenv("PATH"); path != "" {
		env["PATH"] = path
	}
	trust(env, bundle, p.certificates)
	maps.Copy(env, l.Spec.Env)
	trustJava(env, bundle, p.certificates)

	// What follows depends on the instance and wins.
	env["HOME"] = p.home + "/app"
	env["USER"] = "vcap"
	env["TMPDIR"] = p.home + "/tmp"
	env["DEPS_DIR"] = p.home + "/deps"
	env["MEMORY_LIMIT"] = strconv.Itoa(l.Spec.MemoryMB) + "m"
	env["INSTANCE_GUID"] = l.InstanceGUID
	env["INSTANCE_INDEX"] = strconv.Itoa(l.Index)
	env["CF_INSTANCE_GUID"] = l.InstanceGUID
	env["CF_INSTANCE_INDEX"] = strconv.Itoa(l.Index)
	env["CF_INSTANCE_IP"] = l.Host
	env["CF_INSTANCE_INTERNAL_IP"] = l.InternalIP
	env["VCAP_SERVICES"] = orObject(l.Spec.Services)
	if err := addPorts(env, l); err != nil {
		return nil, err
	}
	if err := addApplication(env, l); err != nil {
		return nil, err
	}
	if err := addStackato(env, l, p); err != nil {
		return nil, err
	}
	return pairs(env), nil
}

func pairs(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(env[k], "\x00") {
			continue // no process can have such a one
		}
		out = append(out, k+"="+env[k])
	}
	return out
}

// trust names the authorities to whatever looks for them: OpenSSL, Ruby and
// Go, Node, Python's requests and pip, curl, git. An app may choose others.
func trust(env map[string]string, bundle, dir string) {
	if bundle == "" {
		return
	}
	for _, name := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"} {
		env[name] = bundle
	}
	env["CF_SYSTEM_CERT_PATH"] = dir
}

// trustJava adds to Java's options, beside the app's own, unless these choose a
// keystore.
func trustJava(env map[string]string, bundle, dir string) {
	const choose = "-Djavax.net.ssl.trustStore="
	own := env["JAVA_TOOL_OPTIONS"]
	if bundle == "" || strings.Contains(own, choose) {
		return
	}
	env["JAVA_TOOL_OPTIONS"] = strings.TrimSpace(choose + dir + "/" + keystoreName + " " + own)
}

func addPorts(env map[string]string, l instance.Launch) error {
	if l.Spec.TaskName != "" {
		return nil // a task listens nowhere
	}
	env["PORT"] = strconv.Itoa(instance.ContainerPort)
	env["VCAP_APP_PORT"] = env["PORT"]
	env["VCAP_APP_HOST"] = "0.0.0.0"
	if l.Port == 0 {
		return nil
	}
	type mapping struct {
		External int `json:"external"`
		Internal int `json:"internal"`
	}
	ports, err := json.Marshal([]mapping{{External: l.Port, Internal: instance.ContainerPort}})
	if err != nil {
		return err
	}
	env["CF_INSTANCE_PORT"] = strconv.Itoa(l.Port)
	env["CF_INSTANCE_ADDR"] = net.JoinHostPort(l.Host, strconv.Itoa(l.Port))
	env["CF_INSTANCE_PORTS"] = string(ports)
	return nil
}

// addApplication completes VCAP_APPLICATION with what the instance knows.
func addApplication(env map[string]string, l instance.Launch) error {
	app := map[string]any{}
	if err := json.Unmarshal([]byte(orObject(l.Spec.Application)), &app); err != nil {
		return fmt.Errorf("VCAP_APPLICATION: %w", err)
	}
	app["instance_id"] = l.InstanceGUID
	app["instance_index"] = l.Index
	app["host"] = "0.0.0.0"
	if port := env["PORT"]; port != "" && l.Spec.TaskName == "" {
		app["port"] = instance.ContainerPort
	}
	data, err := json.Marshal(app)
	if err != nil {
		return err
	}
	env["VCAP_APPLICATION"] = string(data)
	return nil
}

// addStackato adds the names that Stackato's documentation knows.
func addStackato(env map[string]string, l instance.Launch, p places) error {
	env["STACKATO_APP_NAME"] = l.Spec.AppName
	env["STACKATO_APP_NAME_UPCASE"] = strings.ToUpper(strings.ReplaceAll(l.Spec.AppName, "-", "_"))
	env["STACKATO_APP_ROOT"] = p.home
	env["STACKATO_DOCUMENT_ROOT"] = env["HOME"]
	var byType map[string][]struct {
		Name        string          `json:"name"`
		Credentials json.RawMessage `json:"credentials"`
	}
	if err := json.Unmarshal([]byte(env["VCAP_SERVICES"]), &byType); err != nil {
		return fmt.Errorf("VCAP_SERVICES: %w", err)
	}
	services := map[string]json.RawMessage{}
	for _, list := range byType {
		for _, s := range list {
			services[s.Name] = json.RawMessage(orObject(s.Credentials))
		}
	}
	data, err := json.Marshal(services)
	if err != nil {
		return err
	}
	env["STACKATO_SERVICES"] = string(data)
	return nil
}

func orObject(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return "{}"
	}
	return string(raw)
}
