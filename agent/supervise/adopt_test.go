package supervise

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startAgent runs another process that supervises s, and returns it when the
// child is up.
func startAgent(t *testing.T, s Spec) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(s.Path)
	cmd.Env = append(os.Environ(), modeKey+"=agent", specKey+"="+string(b))
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if strings.Contains(sc.Text(), "started") {
			break
		}
	}
	awaitLog(t, s.LogFile, "up ")
	return cmd
}

func killAgent(t *testing.T, agent *exec.Cmd) {
	t.Helper()
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
}

func TestAdoptsAfterAgentWasKilled(t *testing.T) {
	s := testSpec(t, "run")
	agent := startAgent(t, s)
	killAgent(t, agent)
	rec, err := readRecord(s.PIDFile)
	if err != nil || !alive(rec.PID) {
		t.Fatalf("%v; the child did not survive its agent", err)
	}
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	if !st.Adopted || st.PID != rec.PID || !st.StartedAt.Equal(rec.At) {
		t.Fatalf("status %+v, want process %d adopted", st, rec.PID)
	}
	// The end of a process that is not our child is seen, too.
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n := await(t, c, "a new process", func(n Status) bool { return n.State == Running && n.PID != st.PID })
	if n.Adopted || !strings.Contains(n.LastExit, "earlier agent") || n.Restarts != 1 {
		t.Errorf("status %+v", n)
	}
}

func TestAdoptedIsStoppedInOrder(t *testing.T) {
	s := testSpec(t, "run")
	killAgent(t, startAgent(t, s))
	c, end := run(t, s, Options{End: Detach})
	st := await(t, c, "running", running)
	c.AtEnd(Stop)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, s.LogFile, "bye")
	if alive(st.PID) || c.Status().State != Stopped {
		t.Errorf("status %+v", c.Status())
	}
}

func TestAdoptionWithoutPIDFile(t *testing.T) {
	s := testSpec(t, "run")
	killAgent(t, startAgent(t, s))
	rec, err := readRecord(s.PIDFile)
	if err != nil {
		t.Fatal(err)
	}
	// The agent died before it wrote the file: the child is found by its
	// marker and replaced, never doubled.
	if err := os.Remove(s.PIDFile); err != nil {
		t.Fatal(err)
	}
	c, _ := run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	if st.PID == rec.PID || alive(rec.PID) {
		t.Errorf("process %d lives beside %d", rec.PID, st.PID)
	}
}

func TestTwinInAnotherDirectoryIsLeftAlone(t *testing.T) {
	s := testSpec(t, "run")
	// The child of a node in a container looks like ours from outside: same
	// arguments, same marker, another file system.
	twin := exec.Command(s.Path, s.Args...)
	twin.Env, twin.Dir = s.environ(), t.TempDir()
	if err := twin.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = twin.Process.Kill()
		_ = twin.Wait()
	}()
	// It executes the test binary only after the fork: wait for its marker.
	for deadline := time.Now().Add(10 * time.Second); len(procList(twin.Process.Pid, "environ")) != 2; {
		if time.Now().After(deadline) {
			t.Fatal("the twin does not come up")
		}
		time.Sleep(time.Millisecond)
	}
	c, end := run(t, s, Options{End: Stop})
	if st := await(t, c, "running", running); st.Adopted || st.LastExit != "" {
		t.Errorf("status %+v", st)
	}
	if err := end(); err != nil || !alive(twin.Process.Pid) {
		t.Errorf("%v; twin alive %v", err, alive(twin.Process.Pid))
	}
}

func TestRestartOfAgentInOneProcess(t *testing.T) {
	s := testSpec(t, "run")
	c, end := run(t, s, Options{End: Detach})
	first := await(t, c, "running", running)
	awaitLog(t, s.LogFile, "up ")
	if err := end(); err != nil || c.Status().State != Detached {
		t.Fatalf("%v, status %+v", err, c.Status())
	}
	c, end = run(t, s, Options{End: Detach})
	if st := await(t, c, "running", running); !st.Adopted || st.PID != first.PID {
		t.Fatalf("status %+v, want process %d adopted", st, first.PID)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	s.ConfigHash = "two"
	c, _ = run(t, s, Options{End: Stop})
	st := await(t, c, "running", running)
	if st.Adopted || st.PID == first.PID || alive(first.PID) {
		t.Errorf("status %+v, want a new process for the new configuration", st)
	}
	if b := awaitLog(t, s.LogFile, "bye"); strings.Count(b, "up ") > 2 {
		t.Errorf("log %q", b)
	}
}

func TestReplacedExecutableIsNotAdopted(t *testing.T) {
	s := testSpec(t, "run")
	self := s.Path
	s.Path = filepath.Join(s.Dir, "program")
	if err := copyFile(self, s.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	c, end := run(t, s, Options{End: Detach})
	first := await(t, c, "running", running)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Path); err != nil { // an upgrade renames over it
		t.Fatal(err)
	}
	if err := os.Symlink(self, s.Path); err != nil {
		t.Fatal(err)
	}
	c, _ = run(t, s, Options{End: Stop})
	if st := await(t, c, "running", running); st.PID == first.PID || alive(first.PID) {
		t.Errorf("status %+v, want the new program", st)
	}
}

func TestStrangerWithOurNumberIsLeftAlone(t *testing.T) {
	s := testSpec(t, "run")
	stranger := exec.Command("/bin/sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stranger.Process.Kill()
		stranger.Wait()
	}()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	st, err := readStat(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]record{
		"another start time": {PID: stranger.Process.Pid, Start: st.start - 1, Boot: boot, Identity: s.identity()},
		"another boot":       {PID: stranger.Process.Pid, Start: st.start, Boot: "x", Identity: s.identity()},
	} {
		t.Run(name, func(t *testing.T) {
			if err := r.write(s.PIDFile); err != nil {
				t.Fatal(err)
			}
			c, end := run(t, s, Options{End: Stop})
			if got := await(t, c, "running", running); got.Adopted {
				t.Errorf("status %+v", got)
			}
			if err := end(); err != nil || !alive(stranger.Process.Pid) {
				t.Errorf("%v; stranger alive %v", err, alive(stranger.Process.Pid))
			}
		})
	}
	if err := os.WriteFile(s.PIDFile, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := run(t, s, Options{End: Stop})
	await(t, c, "running in spite of a broken pid file", running)
}

func TestDetachLeavesRunningThroughPause(t *testing.T) {
	s := testSpec(t, "run")
	c, end := run(t, s, Options{End: Detach})
	st := await(t, c, "running", running)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if !alive(st.PID) {
		t.Fatal("detached child is gone")
	}
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDead(t, st.PID)
	// A zombie is no living child.
	c, _ = run(t, s, Options{End: Stop})
	if n := await(t, c, "running", running); n.Adopted || n.PID == st.PID {
		t.Errorf("status %+v", n)
	}
	unix.Wait4(st.PID, nil, unix.WNOHANG, nil)
}

func TestValidate(t *testing.T) {
	good := testSpec(t, "run")
	for name, change := range map[string]func(*Spec){
		"Path":        func(s *Spec) { s.Path = "nomad" },
		"LogFile":     func(s *Spec) { s.LogFile = "" },
		"PIDFile":     func(s *Spec) { s.PIDFile = "x.pid" },
		"Dir":         func(s *Spec) { s.Dir = "." },
		"DNS label":   func(s *Spec) { s.Name = "a/b" },
		"environment": func(s *Spec) { s.Env = []string{"X"} },
		markerKey:     func(s *Spec) { s.Env = []string{markerKey + "=1"} },
		"negative":    func(s *Spec) { s.StopGrace = -1 },
	} {
		s := good
		change(&s)
		if _, err := New(s, Options{End: Stop}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good, Options{}); err == nil {
		t.Error("no End: want an error")
	}
}
