package member

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/node"
)

func sampleMeta() Meta {
	return Meta{
		ClusterID: testCluster, ID: "0f6e3a39-8f6b-4a77-8b58-5f2f3b0d7c01", Name: "node-1",
		Roles: node.NewRoleSet(node.Base, node.Controller, node.Router), Generation: 1 << 40,
		Version: "1.2.3-rc.1", Zone: "eu-1a", Address: netip.MustParseAddr("10.0.0.7"), RPCPort: 7401,
		Started: time.UnixMilli(1790000000123).UTC(), Leaving: true,
	}
}

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestMetaRoundTrip(t *testing.T) {
	longest := sampleMeta()
	longest.Name, longest.Zone = strings.Repeat("n", 63), strings.Repeat("z", 63)
	longest.Version, longest.Address = strings.Repeat("v", 64), netip.MustParseAddr("fd00::1")
	longest.Roles = 1<<32 - 1 // roles of a newer release
	for name, in := range map[string]Meta{
		"full":    sampleMeta(),
		"minimal": {ClusterID: testCluster, ID: sampleMeta().ID},
		"longest": longest,
	} {
		t.Run(name, func(t *testing.T) {
			b, err := in.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > MaxMetaSize {
				t.Fatalf("%d bytes", len(b))
			}
			var out Meta
			if err := out.UnmarshalBinary(b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(in, out, cmpAddr); d != "" {
				t.Errorf("(-in +out):\n%s", d)
			}
			for i := range b {
				if err := new(Meta).UnmarshalBinary(b[:i]); err == nil {
					t.Errorf("accepted when cut to %d of %d bytes", i, len(b))
				}
			}
		})
	}
}

// The layout is a wire format: this test fails when it changes by accident.
func TestMetaLayout(t *testing.T) {
	b, err := sampleMeta().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	want := "\x01\x01" +
		"\x5a\x7a\x8e\x52\x6f\x0c\x4b\x53\x9d\x39\x7a\x5b\x6e\x1b\x0c\x11" +
		"\x0f\x6e\x3a\x39\x8f\x6b\x4a\x77\x8b\x58\x5f\x2f\x3b\x0d\x7c\x01" +
		"\x00\x00\x00\x07" + "\x00\x00\x01\x00\x00\x00\x00\x00" + "\x00\x00\x01\xa0\xc4\x50\x6c\x7b" + "\x1c\xe9" +
		"\x04\x0a\x00\x00\x07" + "\x06node-1" + "\x05eu-1a" + "\x0a1.2.3-rc.1"
	if d := cmp.Diff([]byte(want), b); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMetaNewerVersionIsRead(t *testing.T) {
	b, err := sampleMeta().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 9
	b[1] |= 0x80 // a flag of the future
	b = append(b, "fields of the future"...)
	var out Meta
	if err := out.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sampleMeta(), out, cmpAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMetaRefused(t *testing.T) {
	encode := map[string]func(*Meta){
		"name":    func(m *Meta) { m.Name = strings.Repeat("x", 64) },
		"zone":    func(m *Meta) { m.Zone = strings.Repeat("x", 64) },
		"version": func(m *Meta) { m.Version = strings.Repeat("x", 65) },
		"cluster": func(m *Meta) { m.ClusterID = "prod" },
		"node id": func(m *Meta) { m.ID = "n1" },
	}
	for field, change := range encode {
		m := sampleMeta()
		change(&m)
		if _, err := m.MarshalBinary(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: error %v does not name the field", field, err)
		}
	}
	good, err := sampleMeta().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	decode := map[string][]byte{
		"empty":       nil,
		"version 0":   append([]byte{0}, good[1:]...),
		"trailing":    append(bytes.Clone(good), 0),
		"over 512":    make([]byte, MaxMetaSize+1),
		"address len": bytes.Replace(good, []byte{4, 10, 0, 0, 7}, []byte{3, 10, 0, 0}, 1),
	}
	for name, b := range decode {
		if err := new(Meta).UnmarshalBinary(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzMeta(f *testing.F) {
	good, err := sampleMeta().MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add(append([]byte{2}, good[1:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Meta
		if m.UnmarshalBinary(b) != nil {
			return
		}
		again, err := m.MarshalBinary()
		if err != nil {
			t.Fatalf("decoded %+v but cannot encode it: %v", m, err)
		}
		if b[0] == metaVersion && b[1]&^flagLeaving == 0 && !bytes.Equal(b, again) {
			t.Fatalf("%x\nwas encoded again as\n%x", b, again)
		}
	})
}
