package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stackato/stackato/agent/local"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kato": main})
}

// TestScripts runs kato's command lines against the real server of the local
// API over a real socket, with a fake cluster behind it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup:         serveFake,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"backend": cmdBackend,
		},
	})
}

// serveFake gives each script its own n1, with an n2 behind it that answers
// forwarded requests by its own handler.
func serveFake(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "kato") // short: a socket's path has 107 bytes
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "run", "agent.sock")
	l, err := local.Listen(socket)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	n1, n2 := newFake("n1"), newFake("n2")
	other := local.NewHandler(n2, log)
	n1.forward = func(ctx context.Context, name string, r local.ForwardRequest) (local.ForwardResponse, error) {
		switch name {
		case "n2":
			return local.Invoke(ctx, other, r)
		case "n3":
			return local.ForwardResponse{}, local.Errorf(local.CodeUnavailable, "see kato status -a", "node n3 does not answer")
		}
		return local.ForwardResponse{}, local.Errorf(local.CodeNotFound, "see kato node list", "there is no node %q", name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- local.Serve(ctx, l, local.NewHandler(n1, log), log) }()
	env.Values["fake"] = n1
	env.Defer(func() {
		cancel()
		if err := <-done; err != nil {
			env.T().Log(err)
		}
		os.RemoveAll(dir)
	})
	env.Setenv("STACKATO_SOCKET", socket)
	return nil
}

// cmdExits runs a command that must end with the given exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdBackend sets the mood of the fake cluster.
func cmdBackend(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value("fake").(*fake)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mood = args[0]
	if f.mood == "starting" {
		f.ready = 2
	}
}
