package api

import (
	"net/http"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

func (a *API) jobRoutes() []route {
	return []route{
		{"GET", "/v3/jobs/{guid}", auth.SignedIn, "Show a job.", getJob},
	}
}

type jobJSON struct {
	head
	Operation string     `json:"operation"`
	State     string     `json:"state"`
	Links     links      `json:"links"`
	Errors    []apiError `json:"errors"`
	Warnings  []warning  `json:"warnings"`
}

type warning struct {
	Detail string `json:"detail"`
}

func getJob(r *request) (response, error) {
	j, found := r.view.Job(r.guid())
	if !found {
		return response{}, cf.ErrNotFound.With("Job not found")
	}
	out := jobJSON{
		head: headOf(j.Resource), Operation: j.Operation, State: j.State,
		Links: links{"self": {Href: r.link("/v3/jobs/", j.GUID)}}, Errors: apiErrors(j.Errors), Warnings: []warning{},
	}
	for _, w := range j.Warnings {
		out.Warnings = append(out.Warnings, warning{w})
	}
	return ok(out)
}

// newJob is a job of the request's user that is not yet in the state.
func (r *request) newJob(operation, resourceGUID string) cf.Job {
	return cf.Job{
		Resource: r.resource(), Operation: operation, State: cf.JobProcessing, ResourceGUID: resourceGUID,
		UserGUID: r.user.UserID, UserName: r.user.UserName,
	}
}

// accepted answers 202 with the job's address.
func (r *request) accepted(jobGUID string) (response, error) {
	return response{status: http.StatusAccepted, header: http.Header{"Location": {r.link("/v3/jobs/", jobGUID)}}}, nil
}

// enqueue begins a job that the Primary works off; see [API.RunJobs].
func (r *request) enqueue(operation, resourceGUID string) (response, error) {
	j := r.newJob(operation, resourceGUID)
	if err := r.store().CreateJob(r.Context(), j); err != nil {
		return response{}, err
	}
	return r.accepted(j.GUID)
}

// finished answers 202 with a job that has ended already: complete, or failed
// with err. It is for operations that are quick here but whose clients expect
// a job.
func (r *request) finished(operation, resourceGUID string, err error) (response, error) {
	j := r.newJob(operation, resourceGUID)
	j.State, j.Ended = cf.JobComplete, r.now
	if err != nil {
		j.State, j.Errors = cf.JobFailed, r.api.present(err)
	}
	if err := r.store().CreateJob(r.Context(), j); err != nil {
		return response{}, err
	}
	return r.accepted(j.GUID)
}
