package rpc

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stackato/stackato/wire/rpcerr"
)

func TestHello(t *testing.T) {
	tests := map[string]*rpcerr.Error{
		"welcome":   nil,
		"refused":   rpcerr.New(rpcerr.Denied, "no"),
		"very long": rpcerr.New(rpcerr.Denied, "%s", strings.Repeat("x", 1<<17)),
	}
	for name, refusal := range tests {
		var b bytes.Buffer
		if err := writeHello(&b, refusal); err != nil {
			t.Fatal(err)
		}
		b.WriteString("raft")
		err := readHello(&b)
		switch {
		case refusal == nil && err != nil, refusal != nil && err == nil:
			t.Errorf("%s: %v", name, err)
		case name == "refused" && !errors.Is(err, rpcerr.Denied):
			t.Errorf("%s: %v", name, err)
		case b.String() != "raft":
			t.Errorf("%s: left %.20q, want what follows", name, b.String())
		}
	}
	if err := readHello(strings.NewReader("\x00")); err == nil {
		t.Error("half a hello was accepted")
	}
}

func FuzzReadHello(f *testing.F) {
	f.Add([]byte("\x00\x00"))
	f.Add([]byte("\x00\x02{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readHello(bytes.NewReader(b)); err == nil && !bytes.HasPrefix(b, []byte{0, 0}) {
			t.Fatalf("%x was taken for a welcome", b)
		}
	})
}
