package main

import (
	"crypto/sha1" // the format's own; nobody checks it
	"encoding/binary"
	"encoding/pem"
	"os"
	"strconv"
	"time"
	"unicode/utf16"
)

// javaTrust is where Debian's Java looks for authorities. Java reads no
// variable and no PEM: the file is replaced in the container, if there is one.
const javaTrust = "/etc/ssl/certs/java/cacerts"

// writeJavaTrust gives Java the certificates of a PEM bundle. A stack without
// Java has no such file.
func writeJavaTrust(name string, bundle []byte, now time.Time) error {
	if _, err := os.Stat(name); err != nil {
		return nil //nolint:nilerr // there is no Java
	}
	return os.WriteFile(name, keystore(certificates(bundle), now), 0o644)
}

// certificates returns the DER of each certificate of a PEM bundle.
func certificates(bundle []byte) [][]byte {
	var out [][]byte
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return out
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, block.Bytes)
		}
	}
}

// keystore writes trusted certificates in Java's own format, "JKS": a magic
// number, version 2, the entries, and a checksum over the password, which
// for trusted certificates is always the same.
func keystore(certs [][]byte, now time.Time) []byte {
	const (
		magic       = 0xfeedfeed
		version     = 2
		trustedCert = 2
		password    = "changeit"
		salt        = "Mighty Aphrodite"
	)
	out := binary.BigEndian.AppendUint32(nil, magic)
	out = binary.BigEndian.AppendUint32(out, version)
	out = binary.BigEndian.AppendUint32(out, uint32(len(certs)))
	for i, der := range certs {
		out = binary.BigEndian.AppendUint32(out, trustedCert)
		out = appendText(out, "stackato-"+strconv.Itoa(i))
		out = binary.BigEndian.AppendUint64(out, uint64(now.UnixMilli()))
		out = appendText(out, "X.509")
		out = binary.BigEndian.AppendUint32(out, uint32(len(der)))
		out = append(out, der...)
	}
	sum := sha1.New()
	for _, unit := range utf16.Encode([]rune(password)) {
		sum.Write([]byte{byte(unit >> 8), byte(unit)})
	}
	sum.Write([]byte(salt))
	sum.Write(out)
	return sum.Sum(out)
}

func appendText(out []byte, s string) []byte {
	out = binary.BigEndian.AppendUint16(out, uint16(len(s)))
	return append(out, s...)
}
