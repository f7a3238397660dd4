package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the supervised child and a supervising agent.
const (
	modeKey = "SUPERVISE_TEST_MODE"
	specKey = "SUPERVISE_TEST_SPEC"
)

func TestMain(m *testing.M) {
	switch os.Getenv(modeKey) {
	case "":
		goleak.VerifyTestMain(m)
	case "agent": // supervises SPEC until it is killed
		var s Spec
		if err := json.Unmarshal([]byte(os.Getenv(specKey)), &s); err != nil {
			panic(err)
		}
		c, err := New(s, Options{End: Detach})
		if err != nil {
			panic(err)
		}
		panic(c.Run(context.Background()))
	default:
		beChild(os.Getenv(modeKey))
	}
}

// beChild is what a supervised process of these tests does.
func beChild(mode string) {
	stop := make(chan os.Signal, 1)
	hup := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(hup, syscall.SIGHUP)
	if mode == "die" {
		fmt.Println("the disk is on fire")
		os.Exit(3)
	}
	env := os.Environ()
	slices.Sort(env)
	fmt.Printf("up %d env %s\n", os.Getpid(), strings.Join(env, " "))
	for deaf := 2; ; {
		select {
		case <-stop:
			if mode == "stubborn" {
				fmt.Println("no")
				continue
			}
			if mode == "deaf" && deaf > 0 {
				deaf--
				fmt.Println("what?")
				continue
			}
			fmt.Println("bye")
			os.Exit(0)
		case <-hup:
			fmt.Println("reloaded")
		}
	}
}

func testSpec(t *testing.T, mode string) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return Spec{
		Name: "child", Path: self, Env: []string{modeKey + "=" + mode},
		Dir: dir, LogFile: filepath.Join(dir, "logs", "child.log"), PIDFile: filepath.Join(dir, "child.pid"),
		StopGrace: 3 * time.Second, ConfigHash: "one",
		Backoff: Backoff{Base: 10 * time.Millisecond, Max: 40 * time.Millisecond, Reset: time.Minute},
	}
}

// run supervises spec until the returned function is called, which is also
// called at the end of the test.
func run(t *testing.T, s Spec, o Options) (*Child, func() error) {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errc := make(chan error, 1)
	go func() { errc <- c.Run(ctx) }()
	var result error
	var ended bool
	end := func() error {
		if !ended {
			ended = true
			cancel()
			result = <-errc
		}
		return result
	}
	t.Cleanup(func() {
		if !ended {
			c.AtEnd(Stop)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return c, end
}

func await(t *testing.T, c *Child, what string, want func(Status) bool) Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	st, err := c.Await(ctx, want)
	if err != nil {
		t.Fatalf("waiting for %s: %v; status %+v", what, err, st)
	}
	return st
}

func running(s Status) bool { return s.State == Running }

// awaitLog waits for a line in the child's log.
func awaitLog(t *testing.T, path, want string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if strings.Contains(string(b), want) {
			return string(b)
		}
	}
	t.Fatalf("%q never appears in %s", want, path)
	return ""
}

func alive(pid int) bool {
	st, err := readStat(pid)
	return err == nil && !st.dead()
}

func awaitDead(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives", pid)
		}
	}
}

func TestStartsCleanAndApart(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/somewhere")
	s := testSpec(t, "run")
	c, end := run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	text := awaitLog(t, s.LogFile, "up ")
	want := fmt.Sprintf("up %d env %s=run %s=%s\n", st.PID, modeKey, markerKey, s.PIDFile)
	if st.Adopted || !strings.Contains(sortEnv(text), sortEnv(want)) {
		t.Errorf("log %q, want exactly the given environment: %q", text, want)
	}
	if sid, err := unix.Getsid(st.PID); err != nil || sid != st.PID {
		t.Errorf("session %d, %v; want one of its own", sid, err)
	}
	if err := end(); err != nil || alive(st.PID) {
		t.Errorf("after the end: %v, alive %v", err, alive(st.PID))
	}
	if got := c.Status(); got.State != Stopped || got.LastExit != "exit status 0" {
		t.Errorf("status %+v", got)
	}
	if err := c.Start(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("Start after the end: %v", err)
	}
}

// sortEnv makes lines with environments comparable.
func sortEnv(s string) string {
	var out []string
	for l := range strings.Lines(s) {
		words := strings.Fields(l)
		slices.Sort(words)
		out = append(out, strings.Join(words, " "))
	}
	return strings.Join(out, "\n")
}

func TestKilledChildIsStartedAgain(t *testing.T) {
	c, _ := run(t, testSpec(t, "run"), Options{End: Stop})
	st := await(t, c, "running", running)
	for i := 1; i <= 2; i++ {
		if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		st = await(t, c, "a new process", func(n Status) bool { return n.State == Running && n.PID != st.PID })
		if st.Restarts != i || st.LastExit != "signal: killed" || st.LastExitAt.IsZero() {
			t.Errorf("status %+v", st)
		}
	}
}

func TestGivesUpAtLimitAndSaysWhy(t *testing.T) {
	s := testSpec(t, "die")
	s.Backoff.Limit = 3
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "failed", func(s Status) bool { return s.State == Failed })
	if st.Restarts != 3 || st.LastExit != "exit status 3" || st.PID != 0 {
		t.Errorf("status %+v", st)
	}
	if diff := cmp.Diff([]string{"the disk is on fire"}, st.LastLog); diff != "" {
		t.Errorf("last log (of the last run alone): %s", diff)
	}
	err := c.AwaitReady(t.Context())
	var notReady *NotReadyError
	if !errors.As(err, &notReady) || !strings.Contains(err.Error(), "the disk is on fire") ||
		!strings.Contains(err.Error(), s.LogFile) {
		t.Errorf("AwaitReady: %v", err)
	}
	// A new configuration is a new chance.
	s.Env, s.ConfigHash = []string{modeKey + "=run"}, "two"
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	await(t, c, "running", running)
}

func TestMissingProgram(t *testing.T) {
	s := testSpec(t, "run")
	program := filepath.Join(s.Dir, "program")
	self := s.Path
	s.Path = program
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "back-off", func(s Status) bool { return s.State == Waiting })
	if !strings.Contains(st.Error, program) || st.NextStart.IsZero() {
		t.Errorf("status %+v", st)
	}
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	await(t, c, "running once the program is there", running)
}

func TestStubbornChildIsKilled(t *testing.T) {
	s := testSpec(t, "stubborn")
	s.StopGrace = 50 * time.Millisecond
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	awaitLog(t, s.LogFile, "up ")
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got.State != Stopped || got.LastExit != "signal: killed" || alive(st.PID) {
		t.Errorf("status %+v", got)
	}
	awaitLog(t, s.LogFile, "no\n") // it was asked first
}

// TestDeafChildIsToldAgain: a program that loses the signal to stop, as some do
// while they start, does not have to be killed.
func TestDeafChildIsToldAgain(t *testing.T) {
	s := testSpec(t, "deaf")
	s.StopGrace, s.StopAgain = time.Minute, 20*time.Millisecond
	c, _ := run(t, s, Options{End: Stop})
	await(t, c, "running", running)
	awaitLog(t, s.LogFile, "up ")
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got.State != Stopped || got.LastExit != "exit status 0" {
		t.Errorf("status %+v", got)
	}
	if got := strings.Count(awaitLog(t, s.LogFile, "bye"), "what?"); got != 2 {
		t.Errorf("it was deaf %d times", got)
	}
	// One that never hears is killed at the end of its grace.
	s = testSpec(t, "stubborn")
	s.StopGrace, s.StopAgain = 100*time.Millisecond, 15*time.Millisecond
	c, _ = run(t, s, Options{End: Stop})
	await(t, c, "running", running)
	awaitLog(t, s.LogFile, "up ")
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got.State != Stopped || got.LastExit != "signal: killed" {
		t.Errorf("status %+v", got)
	}
}

func TestStopStartRestartSignal(t *testing.T) {
	s := testSpec(t, "run")
	c, _ := run(t, s, Options{End: Stop})
	first := await(t, c, "running", running)
	awaitLog(t, s.LogFile, "up ")
	if err := c.Signal(t.Context(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, s.LogFile, "reloaded")
	if err := c.Stop(t.Context()); err != nil || alive(first.PID) {
		t.Fatalf("%v, alive %v", err, alive(first.PID))
	}
	if err := c.Signal(t.Context(), syscall.SIGHUP); err == nil {
		t.Error("a signal to a stopped child: want an error")
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := c.Status()
	if second.State != Running || second.PID == first.PID {
		t.Fatalf("status %+v", second)
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := c.Status()
	if third.State != Running || third.PID == second.PID || third.Restarts != 0 {
		t.Errorf("status %+v; planned restarts do not count", third)
	}
}

func TestLeave(t *testing.T) {
	s := testSpec(t, "run")
	s.StopGrace = 50 * time.Millisecond
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	// The program ends by itself: no restart.
	err := c.Leave(t.Context(), func(context.Context) error { return syscall.Kill(st.PID, syscall.SIGKILL) })
	if got := c.Status(); err != nil || got.State != Stopped || got.Restarts != 0 {
		t.Fatalf("%v, status %+v", err, got)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.StopBy(t.Context(), syscall.SIGHUP); err != nil || c.Status().State != Stopped {
		t.Fatalf("%v, status %+v", err, c.Status())
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	err = c.Leave(t.Context(), func(context.Context) error { return refused })
	if got := c.Status(); !errors.Is(err, refused) || got.State != Stopped {
		t.Fatalf("%v, status %+v; want it stopped all the same", err, got)
	}
}

func TestUpdateRestartsOnlyForWhatMatters(t *testing.T) {
	s := testSpec(t, "run")
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	awaitLog(t, s.LogFile, "up ")
	s.LogKeep, s.StopGrace = 7, 4*time.Second
	if err := c.Update(t.Context(), s); err != nil || c.Status().PID != st.PID {
		t.Fatalf("%v, status %+v; want the same process", err, c.Status())
	}
	s.ConfigHash = "two"
	if err := c.Update(t.Context(), s); err != nil || c.Status().PID == st.PID {
		t.Fatalf("%v, status %+v; want another process", err, c.Status())
	}
	if got := c.Status().LastExit; got != "exit status 0" {
		t.Errorf("last exit %q; want a graceful one", got)
	}
	s.Name = "other"
	if err := c.Update(t.Context(), s); err == nil {
		t.Error("another name: want an error")
	}
}

func TestReadiness(t *testing.T) {
	s := testSpec(t, "run")
	gate := filepath.Join(s.Dir, "gate")
	c, _ := run(t, s, Options{End: Stop, Ready: func(context.Context) error {
		_, err := os.Stat(gate)
		return err
	}})
	st := await(t, c, "a reason", func(s Status) bool { return s.Error != "" })
	if st.State != Starting || !strings.Contains(st.Error, "gate") {
		t.Errorf("status %+v", st)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got.State != Running || got.Error != "" {
		t.Errorf("status %+v", got)
	}
}

func TestPrepareFails(t *testing.T) {
	s := testSpec(t, "run")
	n := 0
	c, _ := run(t, s, Options{End: Stop, Prepare: func() error {
		if n++; n < 3 {
			return errors.New("no room")
		}
		return nil
	}})
	await(t, c, "the reason", func(s Status) bool { return s.State == Waiting && strings.Contains(s.Error, "no room") })
	await(t, c, "running", running)
}

func TestBackoffDelay(t *testing.T) {
	b := Backoff{Base: 100 * time.Millisecond, Max: time.Second}
	for deaths, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond,
		5: time.Second, 1000: time.Second,
	} {
		for range 50 {
			if got := b.delay(deaths); got < want*8/10 || got > want*12/10+1 {
				t.Errorf("delay(%d) = %v, want %v ± 20 %%", deaths, got, want)
			}
		}
	}
}
