package main

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// held keeps what nobody must close.
var held []net.Conn

// hold opens connections, keeps them, and says each time it has tried how many
// there are.
func hold(address, count string) {
	n, err := strconv.Atoi(count)
	for err == nil {
		for len(held) < n {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		fmt.Println("held:", len(held))
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println(err)
}
