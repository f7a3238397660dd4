// Command testapp is the app of fence's tests.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "dial" { // dial address…: which of them answer
		for _, address := range os.Args[2:] {
			conn, err := net.DialTimeout("tcp", address, 10*time.Second)
			fmt.Println(address, err == nil)
			if err == nil {
				conn.Close()
			}
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "hold" { // hold address count: that many connections until it is ended
		hold(os.Args[2], os.Args[3])
		return
	}
	if len(os.Args) > 3 && os.Args[1] == "ask" { // ask method path [body]…: what fence answers
		for args := os.Args[2:]; len(args) >= 3; args = args[3:] {
			ask(args[0], args[1], args[2])
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "listen" { // listen network address
		l, err := net.Listen(os.Args[2], os.Args[3])
		fmt.Println("listens:", err)
		fmt.Fprintln(os.Stderr, http.Serve(l, nil))
		os.Exit(3)
	}
	var sick, unready atomic.Bool
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, strings.Join(os.Environ(), "\n"))
	})
	http.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		status, _ := os.ReadFile("/proc/self/status")
		w.Write(status)
	})
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	http.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if unready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	http.HandleFunc("/unready", func(_ http.ResponseWriter, r *http.Request) {
		unready.Store(r.FormValue("no") == "")
	})
	http.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	http.HandleFunc("/eat", func(http.ResponseWriter, *http.Request) {
		var eaten [][]byte
		for range 1024 {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			eaten = append(eaten, b)
		}
		fmt.Println(len(eaten))
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mb"))
		file, err := os.Create("/home/vcap/tmp/big")
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		for range n {
			if _, err := file.Write(make([]byte, 1<<20)); err != nil {
				http.Error(w, err.Error(), 500)
				return
			}
		}
	})
	http.HandleFunc("/shm", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mb"))
		file, err := os.Create("/dev/shm/big")
		for i := 0; i < n && err == nil; i++ {
			_, err = file.Write(make([]byte, 1<<20))
		}
		if err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	http.HandleFunc("/files", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		if err := makeFiles("/home/vcap/tmp", n); err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	http.HandleFunc("/hide", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mb"))
		if err := hide(r.FormValue("how"), n<<20); err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	// try answers what the app can do that it must not.
	http.HandleFunc("/try", func(w http.ResponseWriter, _ *http.Request) {
		_, err := net.Dial("unix", "/stackato/run/fence.sock")
		fmt.Fprintln(w, "socket", err == nil)
		_, err = os.ReadFile("/proc/1/environ")
		fmt.Fprintln(w, "environ", err == nil)
		fmt.Fprintln(w, "setuid", syscall.Setuid(0) == nil)
		fmt.Fprintln(w, "kill", syscall.Kill(1, syscall.SIGTERM) == nil)
		_, err = os.OpenFile("/dev/stdout", os.O_WRONLY, 0)
		fmt.Fprintln(w, "stdout", err == nil)
	})
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		fmt.Println("app got SIGTERM")
		os.Exit(0)
	}()
	fmt.Println("app listens")
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+os.Getenv("PORT"), nil))
	os.Exit(3)
}

func ask(method, path, body string) {
	if method == "FILL" || method == "FILES" { // path is a size in MB, or a number; waits to be stopped
		n, _ := strconv.Atoi(path)
		var err error
		if method == "FILES" {
			err = makeFiles("/tmp", n)
		} else {
			err = os.WriteFile("/fill", make([]byte, n<<20), 0o600)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		<-term
		return
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", "/stackato/run/fence.sock")
	}}}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://fence"+path, strings.NewReader(body))
	if err != nil {
		fmt.Println(path, err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		fmt.Println(method, path, "no answer")
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(method, path, "broken off")
		return
	}
	fmt.Println(method, path, resp.StatusCode, string(answer))
}
