package deploy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/jobs"
)

const (
	callWithin = 10 * time.Second
	// pollFor is how long a list waits for a change.
	pollFor = 30 * time.Second
	// parallel bounds the calls at once of one list.
	parallel = 8
)

// Client is Nomad through the HTTP API of an agent.
type Client struct {
	api       *api.Client
	transport *http.Transport

	mu     sync.Mutex
	counts map[string]counted // by job
}

// counted is the count of a job as of an index. Lists do not carry it.
type counted struct {
	index uint64
	count int
}

// NewClient returns a client of the Nomad agent at address (host:port) with an
// ACL token that may do everything in the namespace. It connects to nothing.
func NewClient(address, secret string) (*Client, error) {
	tr := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: parallel, IdleConnTimeout: 30 * time.Second,
	}
	c, err := api.NewClient(&api.Config{
		Address: "http://" + address, SecretID: secret, HttpClient: &http.Client{Transport: tr},
	})
	if err != nil {
		return nil, fmt.Errorf("nomad: %w", err)
	}
	return &Client{api: c, transport: tr, counts: map[string]counted{}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Jobs implements [Nomad].
func (c *Client) Jobs(ctx context.Context, prefix string, after uint64) ([]Job, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, pollFor+callWithin)
	defer cancel()
	q := (&api.QueryOptions{Prefix: prefix, WaitIndex: after, WaitTime: pollFor}).WithContext(ctx)
	stubs, meta, err := c.api.Jobs().List(q)
	if err != nil {
		return nil, 0, fmt.Errorf("nomad: list jobs: %w", err)
	}
	out := make([]Job, 0, len(stubs))
	for _, s := range stubs {
		j := Job{ID: s.ID, Index: s.JobModifyIndex, Stopped: s.Stop}
		if s.JobSummary != nil {
			sum := s.JobSummary.Summary[jobs.Group]
			j.Queued, j.Running, j.Ended = sum.Queued, sum.Running, sum.Complete+sum.Failed+sum.Lost
		}
		out = append(out, j)
	}
	if prefix == prefixApp {
		if out, err = c.withCounts(ctx, out); err != nil {
			return nil, 0, err
		}
	}
	// Before its first job Nomad says 0, and a query after 0 never waits.
	return out, max(1, meta.LastIndex), nil
}

// withCounts reads the jobs that have changed since they were last read. Those
// that are gone by now are left out.
func (c *Client) withCounts(ctx context.Context, list []Job) ([]Job, error) {
	c.mu.Lock()
	known := c.counts
	c.mu.Unlock()
	next := make([]counted, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, j := range list {
		if k := known[j.ID]; k.index == j.Index {
			next[i] = k
			continue
		}
		g.Go(func() error {
			full, err := c.job(ctx, j.ID)
			if err == nil && full != nil {
				next[i] = counted{*full.JobModifyIndex, jobs.Count(full)}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	counts, out := make(map[string]counted, len(list)), list[:0]
	for i, j := range list {
		if next[i].index == 0 {
			continue
		}
		counts[j.ID] = next[i]
		j.Index, j.Count = next[i].index, next[i].count
		out = append(out, j)
	}
	c.mu.Lock()
	c.counts = counts
	c.mu.Unlock()
	return out, nil
}

// job returns nil if there is none.
func (c *Client) job(ctx context.Context, id string) (*api.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	j, _, err := c.api.Jobs().Info(id, (&api.QueryOptions{}).WithContext(ctx))
	if statusOf(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nomad: read job %s: %w", id, err)
	}
	return j, nil
}

// Register implements [Nomad].
func (c *Client) Register(ctx context.Context, job *api.Job, index uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	res, _, err := c.api.Jobs().EnforceRegister(job, index, (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case err == nil:
		return res.JobModifyIndex, nil
	case strings.Contains(err.Error(), api.RegisterEnforceIndexErrPrefix):
		return 0, fmt.Errorf("nomad: register job %s: %w", *job.ID, ErrChanged)
	}
	return 0, fmt.Errorf("nomad: register job %s: %w", *job.ID, err)
}

// Scale implements [Nomad].
func (c *Client) Scale(ctx context.Context, id string, count int, index uint64) (uint64, error) {
	job, err := c.job(ctx, id)
	if err != nil {
		return 0, err
	}
	if job == nil || *job.JobModifyIndex != index {
		return 0, fmt.Errorf("nomad: scale job %s: %w", id, ErrChanged)
	}
	jobs.Scale(job, count)
	return c.Register(ctx, job, index)
}

// Remove implements [Nomad].
func (c *Client) Remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	_, _, err := c.api.Jobs().Deregister(id, true, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil && statusOf(err) != http.StatusNotFound {
		return fmt.Errorf("nomad: remove job %s: %w", id, err)
	}
	return nil
}

// Allocations implements [Nomad].
func (c *Client) Allocations(ctx context.Context, job string) ([]Alloc, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stubs, _, err := c.api.Jobs().Allocations(job, false, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("nomad: list allocations of %s: %w", job, err)
	}
	out := make([]Alloc, 0, len(stubs))
	for _, s := range stubs {
		a := Alloc{ID: s.ID, Job: s.JobID, Node: s.NodeID, State: s.ClientStatus, Stopping: s.DesiredStatus != api.AllocDesiredStatusRun}
		a.setIndex(s.Name)
		a.setEnd(s.TaskStates, s.ClientDescription)
		out = append(out, a)
	}
	return out, nil
}

// Allocation implements [Nomad].
func (c *Client) Allocation(ctx context.Context, id string) (Alloc, error) {
	if uuid.Validate(id) != nil { // a node's word; Nomad would answer with 500
		return Alloc{}, ErrNoAllocation
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	full, _, err := c.api.Allocations().Info(id, (&api.QueryOptions{}).WithContext(ctx))
	if statusOf(err) == http.StatusNotFound {
		return Alloc{}, ErrNoAllocation
	}
	if err != nil {
		return Alloc{}, fmt.Errorf("nomad: read allocation %s: %w", id, err)
	}
	a := Alloc{
		ID: full.ID, Job: full.JobID, Node: full.NodeID, State: full.ClientStatus,
		Stopping: full.DesiredStatus != api.AllocDesiredStatusRun,
	}
	a.setIndex(full.Name)
	a.setEnd(full.TaskStates, full.ClientDescription)
	return a, nil
}

// setIndex takes the index from a name like "app-….instance[3]".
func (a *Alloc) setIndex(name string) {
	_, rest, _ := strings.Cut(name, "[")
	// A name without one leaves 0.
	_, _ = fmt.Sscanf(rest, "%d]", &a.Index)
}

func (a *Alloc) setEnd(states map[string]*api.TaskState, description string) {
	st := states[jobs.TaskName]
	if st == nil {
		a.Reason = description
		return
	}
	for _, e := range st.Events { // the oldest first
		switch e.Type {
		case api.TaskTerminated:
			a.ExitCode, a.OOM = e.ExitCode, e.Details["oom_killed"] == "true"
		case api.TaskDriverFailure, api.TaskSetupFailure, api.TaskFailedValidation:
			a.Reason = e.DisplayMessage
		case api.TaskStarted:
			a.Reason = "" // at last
		}
	}
}

// Collect implements [Nomad].
func (c *Client) Collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	// The method of the library takes no context.
	_, err := c.api.Raw().Write("/v1/system/gc", nil, nil, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("nomad: collect garbage: %w", err)
	}
	return nil
}

// Unplaced implements [Nomad].
func (c *Client) Unplaced(ctx context.Context, job string) (*Unplaced, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	evals, _, err := c.api.Jobs().Evaluations(job, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("nomad: list evaluations of %s: %w", job, err)
	}
	if !slices.ContainsFunc(evals, func(e *api.Evaluation) bool { return e.Status == api.EvalStatusBlocked }) {
		return nil, nil
	}
	full, err := c.job(ctx, job)
	if err != nil || full == nil {
		return nil, err
	}
	// What a blocked evaluation says is what was in the way when it was made:
	// Nomad does not write down what is when it tries again. So it is asked anew.
	plan, _, err := c.api.Jobs().PlanOpts(full, nil, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("nomad: ask where there is room for %s: %w", job, err)
	}
	m := plan.FailedTGAllocs[jobs.Group]
	if m == nil {
		return nil, nil
	}
	u := &Unplaced{
		Nodes: m.NodesEvaluated, Filtered: m.NodesFiltered, Exhausted: m.NodesExhausted,
		Constraints: map[string]int{}, Dimensions: m.DimensionExhausted,
	}
	for text, n := range m.ConstraintFiltered { // "${meta.role_dea} = true"
		key := strings.TrimPrefix(text, "${meta.")
		if i := strings.IndexByte(key, '}'); i >= 0 {
			key = key[:i]
		}
		u.Constraints[key] += n
		if (jobs.IsStackMeta(key) || key == classMeta) && u.Image == "" {
			full, err := c.job(ctx, job)
			if err != nil {
				return nil, err
			}
			if full != nil {
				u.Image, u.Zone = jobs.Image(full), jobs.Zone(full)
			}
		}
	}
	return u, nil
}

func statusOf(err error) int {
	var e api.UnexpectedResponseError
	if errors.As(err, &e) && e.HasStatusCode() {
		return e.StatusCode()
	}
	return 0
}
