package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

// Exit codes, for scripts. They are part of kato's interface: never renumber.
const (
	exitOK          = 0
	exitFailed      = 1 // it was tried and failed, or a check found something
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnavailable = 5
)

// errFound ends a command whose output already tells what is wrong.
var errFound = errors.New("")

// codeUsage marks errors of usage that a command finds itself.
const codeUsage = "usage"

func usageErrorf(hint, format string, args ...any) error {
	return local.Errorf(codeUsage, hint, format, args...)
}

// wrongUsage says how a command is used after cobra has refused its flags or
// arguments. Errors that know better keep their hint.
func wrongUsage(c *cobra.Command, err error) error {
	var e *local.Error
	if errors.As(err, &e) {
		return err
	}
	return usageErrorf("usage: "+c.UseLine()+" (see "+c.CommandPath()+" --help)", "%v", err)
}

// exitCode reports err on standard error and returns the code to exit with.
func (a *app) exitCode(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errFound) {
		return exitFailed
	}
	e := a.described(ctx, err)
	if a.json {
		b, _ := json.Marshal(map[string]any{"error": e}) // three strings: cannot fail
		fmt.Fprintf(a.err, "%s\n", b)
	} else {
		fmt.Fprintf(a.err, "kato: %s\n", e.Message)
		if e.ErrHint != "" {
			fmt.Fprintf(a.err, "  → %s\n", e.ErrHint)
		}
	}
	switch e.ErrCode {
	case codeUsage, local.CodeInvalid:
		return exitUsage
	case local.CodeNotFound:
		return exitNotFound
	case local.CodeRefused, local.CodeConflict, local.CodeUnconfigured, local.CodeForbidden:
		return exitRefused
	case local.CodeUnavailable, local.CodeNoPrimary, local.CodeTimeout:
		return exitUnavailable
	}
	return exitFailed
}

// described makes a local.Error of any error.
func (a *app) described(ctx context.Context, err error) *local.Error {
	var e *local.Error
	switch {
	case errors.As(err, &e):
		out := *e
		out.Message = err.Error()
		return &out
	case ctx.Err() != nil:
		return local.Errorf("interrupted", "see kato status",
			"interrupted: the agent finishes a change that it has begun")
	}
	return local.Errorf(local.CodeInternal, "", "%v", err)
}
