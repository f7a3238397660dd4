// Container stands in a container where a launcher or a stager stands: the one
// ends with status 3, the other uses more memory than there is.
package main

import (
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == "stackato-launcher" {
		os.Exit(3)
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
