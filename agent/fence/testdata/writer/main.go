// Command writer writes numbered lines: even ones to its standard output, odd
// ones to its standard error; then a long line and one without a newline.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	for i := range n {
		out := os.Stdout
		if i%2 == 1 {
			out = os.Stderr
		}
		fmt.Fprintln(out, i)
		if i%10 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	fmt.Println(strings.Repeat("x", 40<<10))
	fmt.Print("no newline")
}
