package procnet

import (
	"context"
	"net"
	"os"
	"testing"
)

func TestListening(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", "127.0.0.7:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all, err := Listening(os.Getpid())
	if err != nil {
		t.Error(err)
	}
	found := false
	for _, have := range all {
		found = found || have.Addr.String() == l.Addr().String()
	}
	if !found {
		t.Errorf("%s is not among the listeners of this process", l.Addr())
	}
	if _, err := Listening(0); err == nil {
		t.Error("read the sockets of no process")
	}
}

func TestParse(t *testing.T) {
	const rest = " 00000000:00000000 00:00000000 00000000     0        0 4711 1 0"
	for line, want := range map[string]string{
		"  0: 0100007F:1F90 00000000:0000 0A" + rest:                                                 "127.0.0.1:8080",
		"  0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A" + rest: "[::]:8080",
		"  0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A" + rest: "[::1]:80",
		"  0: 0100007F:1F90 0100007F:1F91 01" + rest:                                                 "",
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid":          "",
		"": "",
	} {
		got, ok, err := parse(line)
		if err != nil || ok != (want != "") || ok && (got.Addr.String() != want || got.Inode != "4711") {
			t.Errorf("%q: %v, %v, %v", line, got, ok, err)
		}
	}
	for _, bad := range []string{"0100:1F90", "0100007F:1FFFF", "0100007F", "xyz:1"} {
		if got, ok, err := parse("  0: " + bad + " 00000000:0000 0A" + rest); ok || err == nil {
			t.Errorf("%q: %v, %v, %v", bad, got, ok, err)
		}
	}
}
