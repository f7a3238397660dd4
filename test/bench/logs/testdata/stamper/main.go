// Command stamper writes the time, in Unix nanoseconds, as often as it is told.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	every, err := time.ParseDuration(os.Args[2])
	if err != nil {
		panic(err)
	}
	for range n {
		fmt.Println(time.Now().UnixNano())
		time.Sleep(every)
	}
}
