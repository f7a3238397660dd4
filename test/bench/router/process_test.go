package router

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/router"
)

// process is this test binary in another role. It writes its address to standard
// output, takes orders on standard input, and ends with it.
type process struct {
	address string
	pid     int
	orders  io.Writer
}

func startSelf(b *testing.B, role, argument string) *process {
	b.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), "STACKATO_BENCH_ROLE="+role, "STACKATO_BENCH_ARGUMENT="+argument)
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { orders.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", role, err)
	}
	return &process{strings.TrimSpace(line), cmd.Process.Pid, orders}
}

// untilOrdered calls order for each line of standard input.
func untilOrdered(order func(string)) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		order(in.Text())
	}
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return l
}

// serveApp answers every request with 1 KiB.
func serveApp() {
	l := listen()
	fmt.Println(l.Addr())
	response := append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", bodyBytes), bytes.Repeat([]byte("x"), bodyBytes)...)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					line, err := in.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) <= 2 { // the end of a header; there are no bodies
						if _, err := c.Write(response); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	untilOrdered(func(string) {})
}

// serveRouter is the router as the agent runs it, with access log and table file.
func serveRouter() {
	path, controller, _ := strings.Cut(os.Getenv("STACKATO_BENCH_ARGUMENT"), " ")
	self := readMember(path, "router")
	client := rpc.NewClient(self, rpc.ClientConfig{})
	defer client.Close()
	feed := &benchFeed{client, rpc.Target{ID: self.Primary(), Addr: controller}}
	dir, err := os.MkdirTemp("", "bench-router-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	l := listen()
	r, err := router.New(router.Config{
		HTTPListener: l, Feed: feed, TableFile: dir + "/routes.json", AccessLog: dir + "/access.log",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	if file, err := os.Create(os.Getenv("STACKATO_BENCH_PROFILE")); err == nil {
		if err := pprof.StartCPUProfile(file); err == nil {
			defer pprof.StopCPUProfile()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	fmt.Println(l.Addr())
	untilOrdered(func(string) {})
	cancel()
	<-done
}
