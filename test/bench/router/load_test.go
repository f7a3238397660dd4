package router

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// result is what a run of load came to.
type result struct {
	requests, failed int
	p99              time.Duration
}

// load sends requests on kept-alive connections. It is written by hand to leave
// the cores to what is measured.
func load(address string, routes int, d time.Duration) result {
	var mu sync.Mutex
	var all []time.Duration
	var out result
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for n := range connections {
		wg.Go(func() {
			took, failed := client(address, routes, end, uint64(n))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			out.failed += failed
		})
	}
	wg.Wait()
	out.requests = len(all) + out.failed
	if len(all) > 0 {
		slices.Sort(all)
		out.p99 = all[len(all)*99/100]
	}
	return out
}

func client(address string, routes int, end time.Time, seed uint64) (took []time.Duration, failed int) {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a load, no secret
	took = make([]time.Duration, 0, 1<<14)
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for time.Now().Before(end) {
		fresh := conn == nil
		if fresh {
			c, err := net.Dial("tcp", address)
			if err != nil {
				return took, failed + 1
			}
			conn, in = c, bufio.NewReader(c)
		}
		start := time.Now()
		_, err := fmt.Fprintf(conn, "GET /some/path HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", hostOf(random.IntN(routes)))
		if err == nil {
			err = readResponse(in)
		}
		if err != nil {
			// A kept-alive connection may be closed by the other side at any time.
			if fresh {
				failed++
			}
			conn.Close()
			conn = nil
			continue
		}
		took = append(took, time.Since(start))
	}
	return took, failed
}

// readResponse reads one with status 200 and a Content-Length.
func readResponse(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(line, []byte("HTTP/1.1 200"))
	length := 0
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, found := bytes.Cut(line, []byte(":")); found && bytes.EqualFold(name, []byte("Content-Length")) {
			for _, c := range bytes.TrimSpace(value) {
				length = length*10 + int(c-'0')
			}
		}
	}
	if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
		return err
	}
	if !ok || length != bodyBytes {
		return fmt.Errorf("not the app's answer")
	}
	return nil
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
