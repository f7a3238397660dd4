package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/stackato/stackato/agent/local"
)

// confirm asks before something that takes things away. Without a terminal
// and without --yes it refuses: a script must say that it means it.
func (a *app) confirm(format string, args ...any) error {
	if a.yes {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !terminal(a.in) {
		return local.Errorf(local.CodeRefused, "say it with --yes", "not confirmed: %s", question)
	}
	fmt.Fprintf(a.err, "%s [y/N] ", clean(question))
	answer, err := bufio.NewReader(io.LimitReader(a.in, 100)).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return local.Errorf(local.CodeRefused, "", "not confirmed: nothing was changed")
}

// maxSecret bounds secrets and values from files, in bytes.
const maxSecret = 64 << 10

// readSecret reads a secret from a file, from standard input ("-"), or on a
// terminal by asking without echo (""). Never from argv, which every user of
// the machine can see.
func (a *app) readSecret(file, what string) (string, error) {
	var (
		b   []byte
		err error
	)
	switch {
	case file == "-":
		b, err = io.ReadAll(io.LimitReader(a.in, maxSecret))
	case file != "":
		b, err = a.readFile(file)
	case terminal(a.in):
		fmt.Fprintf(a.err, "%s: ", what)
		b, err = term.ReadPassword(int(a.in.(*os.File).Fd()))
		fmt.Fprintln(a.err)
	default:
		return "", usageErrorf("give it with --token-file FILE, or --token-file - and standard input", "the %s is missing", what)
	}
	if err != nil {
		return "", fmt.Errorf("reading the %s: %w", what, err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", usageErrorf("", "the %s is empty", what)
	}
	return s, nil
}

// readFile reads a secret's file and warns when others may read it too.
func (a *app) readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		a.warn(fmt.Sprintf("others may read %s (mode %04o): chmod 600 %s", name, info.Mode().Perm(), name))
	}
	return io.ReadAll(io.LimitReader(f, maxSecret))
}
