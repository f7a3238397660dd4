// Launcher stands in a container where stackato-launcher stands, and tells what
// it finds there.
package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
)

func main() {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	out := map[string]any{"pid": os.Getpid(), "uid": os.Getuid(), "env": os.Environ()}
	for _, line := range strings.Split(string(status), "\n") {
		if k, v, ok := strings.Cut(line, ":\t"); ok && (strings.HasPrefix(k, "Cap") || k == "NoNewPrivs") {
			out[k] = v
		}
	}
	write := os.WriteFile("/stackato/written", nil, 0o600)
	out["write"] = write != nil && strings.Contains(write.Error(), syscall.EROFS.Error())
	out["chown"] = os.WriteFile("/own", nil, 0o600) == nil && os.Chown("/own", 2000, 2000) == nil
	secret, err := os.ReadFile("/stackato/run/secret")
	out["secret"] = string(secret)
	if err != nil {
		out["secret"] = err.Error()
	}
	_, err = os.ReadFile("/own") // 0600 of another: needs a capability that is not there
	out["other"] = err != nil
	if err := syscall.Setgroups(nil); err != nil {
		out["setgroups"] = err.Error()
	}
	if syscall.Setgid(2000) != nil || syscall.Setuid(2000) != nil {
		out["setuid"] = "refused"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(out) })
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	if os.Getenv("NOMAD_ALLOC_PORT_http") == "" && os.Getenv("NOMAD_PORT_http") == "" {
		os.Exit(7) // a task
	}
	panic(http.ListenAndServe(":8080", nil))
}
