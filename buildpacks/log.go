package buildpacks

import (
	"fmt"
	"io"
)

// Log is what the developer reads of a build, in Cloud Foundry's manner.
type Log struct{ w io.Writer }

// NewLog makes a log that writes to w.
func NewLog(w io.Writer) *Log { return &Log{w: w} }

// Writer is where the output of commands goes.
func (l *Log) Writer() io.Writer { return l.w }

// Step begins a part of the build.
func (l *Log) Step(format string, args ...any) {
	fmt.Fprintf(l.w, "-----> %s\n", fmt.Sprintf(format, args...))
}

// Info says something within a step.
func (l *Log) Info(format string, args ...any) {
	fmt.Fprintf(l.w, "       %s\n", fmt.Sprintf(format, args...))
}

// Warn says what may not be as the developer expects.
func (l *Log) Warn(format string, args ...any) {
	fmt.Fprintf(l.w, "       **WARNING** %s\n", fmt.Sprintf(format, args...))
}

// Say prints a line as it is.
func (l *Log) Say(format string, args ...any) {
	fmt.Fprintf(l.w, format+"\n", args...)
}
