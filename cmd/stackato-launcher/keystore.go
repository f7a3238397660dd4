package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"unicode/utf16"
)

// keystorePassword is Java's own default. It protects nothing: the content is
// public.
const keystorePassword = "changeit"

// javaKeystore makes a keystore (JKS) of trusted authorities, because Java
// reads no PEM: a header, an entry for each certificate, and a digest.
func javaKeystore(bundle []byte) []byte {
	var entries bytes.Buffer
	count := uint32(0)
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		put(&entries, uint32(2)) // a trusted certificate
		putString(&entries, fmt.Sprintf("ca-%d", count))
		put(&entries, uint64(0)) // made in 1970
		putString(&entries, "X.509")
		put(&entries, uint32(len(block.Bytes)))
		entries.Write(block.Bytes)
		count++
	}
	var out bytes.Buffer
	put(&out, uint32(0xfeedfeed))
	put(&out, uint32(2)) // version
	put(&out, count)
	out.Write(entries.Bytes())

	sum := sha1.New() // what the format asks for
	for _, c := range utf16.Encode([]rune(keystorePassword)) {
		sum.Write([]byte{byte(c >> 8), byte(c)})
	}
	sum.Write([]byte("Mighty Aphrodite"))
	sum.Write(out.Bytes())
	return sum.Sum(out.Bytes())
}

func put[N uint16 | uint32 | uint64](to *bytes.Buffer, n N) {
	_ = binary.Write(to, binary.BigEndian, n) // a buffer never fails
}

func putString(to *bytes.Buffer, s string) {
	put(to, uint16(len(s)))
	to.WriteString(s)
}
