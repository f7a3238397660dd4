package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ownerSelf identifies this process, also after its id is used again.
func ownerSelf() string {
	started, _, err := processStat(os.Getpid())
	if err != nil {
		started = "0"
	}
	return strconv.Itoa(os.Getpid()) + "." + started
}

// ownerAlive reports whether the process named by a labelOwner still runs.
func ownerAlive(owner string) bool {
	id, started, _ := strings.Cut(owner, ".")
	pid, err := strconv.Atoi(id)
	if err != nil {
		return false
	}
	now, _, err := processStat(pid)
	return err == nil && now == started
}

// Sweep removes the containers, networks and volumes of tests whose process
// has ended without cleaning up (killed, timed out). With a run id it removes
// everything of that run, whoever owns it. It returns how many objects went.
func Sweep(ctx context.Context, run string) (int, error) {
	if run != "" {
		return remove(ctx, labelTest+"="+run, nil)
	}
	return remove(ctx, labelTest, func(owner string) bool { return !ownerAlive(owner) })
}

// remove deletes all objects with a label, containers first; keep those whose
// owner does not pass the filter.
func remove(ctx context.Context, label string, filter func(owner string) bool) (int, error) {
	kinds := []struct{ list, remove []string }{
		{[]string{"ps", "--all"}, []string{"rm", "--force", "--volumes"}},
		{[]string{"network", "ls"}, []string{"network", "rm"}},
		{[]string{"volume", "ls"}, []string{"volume", "rm", "--force"}},
	}
	id := []string{"{{.ID}}", "{{.ID}}", "{{.Name}}"}
	count := 0
	var errs []error
	for i, kind := range kinds {
		list := slices.Concat(kind.list, []string{
			"--filter", "label=" + label,
			"--format", id[i] + " {{.Label \"" + labelOwner + "\"}}",
		})
		lines, err := dockerLines(ctx, list...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var ids []string
		for _, line := range lines {
			name, owner, _ := strings.Cut(line, " ")
			if filter == nil || filter(owner) {
				ids = append(ids, name)
			}
		}
		if len(ids) == 0 {
			continue
		}
		if _, err := docker(ctx, slices.Concat(kind.remove, ids)...); err != nil && !gone(err) {
			errs = append(errs, err)
			continue
		}
		count += len(ids)
	}
	if err := errors.Join(errs...); err != nil {
		return count, fmt.Errorf("removing what is labelled %s: %w", label, err)
	}
	return count, nil
}

// gone reports whether everything that the Engine refused to remove had been
// removed by somebody else meanwhile.
func gone(err error) bool {
	var cmd *CommandError
	if !errors.As(err, &cmd) {
		return false
	}
	for line := range strings.Lines(strings.TrimSpace(cmd.Stderr)) {
		line = strings.ToLower(line)
		if strings.HasPrefix(line, "exit status ") {
			continue // newer clients end with it
		}
		if !strings.Contains(line, "no such") && !strings.Contains(line, "not found") &&
			!strings.Contains(line, "already in progress") {
			return false
		}
	}
	return true
}
