package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// jobs can be asked for for a day.
var jobs = bounded[cf.Job]{
	newTable[cf.Job]("cf_jobs", byGUID(), by("state", "State"), byCreation(jobResource)), jobResource, 24 * time.Hour, 50_000,
}

func jobResource(j *cf.Job) cf.Resource { return j.Resource }

// Job returns one job.
func (v *View) Job(guid string) (cf.Job, bool) { return jobs.get(v, "id", guid) }

// JobsByState returns the jobs of one state, in no useful order.
func (v *View) JobsByState(state string) []cf.Job { return jobs.list(v, "state", state) }

var createJob = newCommand("cf.job.create", 1, func(tx *Tx, in cf.Job) (none, error) {
	jobs.add(tx, in)
	return none{}, nil
})

// CreateJob adds a job, running or ended.
func (s *Store) CreateJob(ctx context.Context, j cf.Job) error {
	_, err := createJob.do(ctx, s, j)
	return err
}

// jobEnd is the input of cf.job.end.
type jobEnd struct {
	GUID     string     `json:"guid"`
	Errors   []cf.Error `json:"errors,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`
	At       time.Time  `json:"at"`
}

var endJob = newCommand("cf.job.end", 1, func(tx *Tx, in jobEnd) (none, error) {
	j, ok := jobs.get(tx, "id", in.GUID)
	if !ok || j.State != cf.JobProcessing {
		return none{}, nil
	}
	j.State, j.Errors, j.Warnings, j.UpdatedAt, j.Ended = cf.JobComplete, in.Errors, in.Warnings, in.At, in.At
	if len(in.Errors) > 0 {
		j.State = cf.JobFailed
	}
	jobs.put(tx, j)
	return none{}, nil
})

// EndJob ends a running job: failed if there are errors, else complete. It
// does nothing to a job that has ended.
func (s *Store) EndJob(ctx context.Context, guid string, errs []cf.Error, warnings []string, at time.Time) error {
	_, err := endJob.do(ctx, s, jobEnd{guid, errs, warnings, at})
	return err
}
