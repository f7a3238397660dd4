// Container stands in a container where a launcher or a stager stands. A task
// ends with status 3, an app stays, a stager uses more memory than there is.
package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if filepath.Base(os.Args[0]) == "stackato-launcher" {
		if os.Getenv("NOMAD_HOST_PORT_http") == "" {
			os.Exit(3)
		}
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
		return
	}
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(i)
		}
		all = append(all, b)
	}
}
