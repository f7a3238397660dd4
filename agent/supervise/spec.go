package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Spec says what a child is. The zero value of an optional field means its
// default.
type Spec struct {
	Name string   // for people, status and log lines; a DNS label
	Path string   // absolute path of the executable
	Args []string // without the program name; never a secret
	// Env is the whole environment ("K=V"). Nothing is inherited from the
	// agent but one marker that is added: see CleanEnv.
	Env []string
	Dir string // absolute working directory; must exist

	LogFile     string // absolute; standard output and error are appended
	LogMaxBytes int64  // rotate above this many bytes; default 10 MiB
	LogKeep     int    // rotated files to keep; default 3

	PIDFile string // absolute; one per child and data directory

	StopSignal syscall.Signal // default SIGTERM
	StopGrace  time.Duration  // from StopSignal to SIGKILL; default 10 s
	// StopAgain is the time after which StopSignal is sent again and again, for
	// programs that do not hear it at every moment; 0: it is sent once. StopBy's
	// signal is never repeated: to many programs a second one means to give up.
	StopAgain time.Duration

	// ConfigHash stands for everything the program reads at its start and
	// cannot take over while it runs. A child with another hash is restarted.
	ConfigHash string

	Backoff Backoff
}

// Backoff says how long to wait before a child that died is started again:
// Base, doubled for each death in a row, at most Max, each varied by a fifth
// either way.
type Backoff struct {
	Base  time.Duration // default 250 ms
	Max   time.Duration // default 30 s
	Reset time.Duration // a child that ran this long starts at Base again; default 30 s
	// Limit is the number of deaths in a row after which the child is left
	// alone, in state Failed, until Start, Restart or Update. 0 means no
	// limit: what a node cannot do without is tried every Max for ever, for
	// the cause (a full disk, a port in use) may go away.
	Limit int
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (s Spec) withDefaults() Spec {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&s.StopGrace, 10*time.Second)
	def(&s.Backoff.Base, 250*time.Millisecond)
	def(&s.Backoff.Max, 30*time.Second)
	def(&s.Backoff.Reset, 30*time.Second)
	if s.LogMaxBytes == 0 {
		s.LogMaxBytes = 10 << 20
	}
	if s.LogKeep == 0 {
		s.LogKeep = 3
	}
	if s.StopSignal == 0 {
		s.StopSignal = syscall.SIGTERM
	}
	return s
}

// Validate names the first field that cannot be.
func (s Spec) Validate() error {
	if !namePattern.MatchString(s.Name) {
		return fmt.Errorf("child name %.70q is not a DNS label", s.Name)
	}
	for _, f := range []struct{ field, path string }{
		{"Path", s.Path}, {"Dir", s.Dir}, {"LogFile", s.LogFile}, {"PIDFile", s.PIDFile},
	} {
		if !filepath.IsAbs(f.path) {
			return fmt.Errorf("child %s: %s %q is not an absolute path", s.Name, f.field, f.path)
		}
	}
	for _, kv := range s.Env {
		key, _, ok := strings.Cut(kv, "=")
		if !ok || key == "" || key == markerKey {
			return fmt.Errorf("child %s: environment entry %q cannot be given", s.Name, key)
		}
	}
	if s.StopGrace < 0 || s.StopAgain < 0 || s.LogMaxBytes < 0 || s.LogKeep < 0 || s.Backoff.Limit < 0 ||
		s.Backoff.Base < 0 || s.Backoff.Max < 0 || s.Backoff.Reset < 0 {
		return errors.New("child " + s.Name + ": a duration or size is negative")
	}
	return nil
}

// identity is the hash of all that a running process has taken from its spec:
// a process of another identity must be restarted to become this child.
func (s Spec) identity() string {
	b, err := json.Marshal([]any{s.Path, s.Args, s.Env, s.Dir, s.LogFile, s.ConfigHash})
	if err != nil { // strings always marshal
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// markerKey is the environment variable that lets a later agent recognise a
// child whose pid file was never written.
const markerKey = "STACKATO_CHILD"

// environ is the environment that the process gets.
func (s Spec) environ() []string {
	return append([]string{markerKey + "=" + s.PIDFile}, s.Env...)
}

// CleanEnv is the environment for programs that need nothing special: a PATH,
// HOME and a UTF-8 locale. The agent's own environment is not inherited,
// because what stands there by chance changes what tools do (AWS_CA_BUNDLE
// ends a Nomad client, CONSUL_* and NOMAD_* redirect commands).
func CleanEnv(home string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home,
		"LANG=C.UTF-8",
	}
}
