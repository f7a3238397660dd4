package api

import (
	"io"
	"maps"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func createDroplet(r *request) (response, error) {
	var body struct {
		Relationships appRelation       `json:"relationships"`
		ProcessTypes  map[string]string `json:"process_types"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	a, err := r.relatedApp(body.Relationships.App)
	if err != nil {
		return response{}, err
	}
	d := cf.Droplet{
		Resource: r.resource(), AppGUID: a.GUID, State: cf.DropletAwaitingUpload, Stack: a.Stack,
		ProcessTypes: body.ProcessTypes,
	}
	if d.ProcessTypes == nil {
		d.ProcessTypes = map[string]string{cf.ProcessWeb: ""}
	}
	if err := processTypeProblems(d.ProcessTypes).err(); err != nil {
		return response{}, err
	}
	if source := r.query.Get("source_guid"); source != "" {
		if d, err = r.copyOf(d, source); err != nil {
			return response{}, err
		}
	}
	ctx := r.auditApp("audit.app.droplet.create", a, map[string]any{"droplet_guid": d.GUID})
	if err := r.store().CreateDroplet(ctx, d); err != nil {
		return response{}, err
	}
	return created(presentDroplet(r, d))
}

func processTypeProblems(types map[string]string) problems {
	var p problems
	p.check(len(types) <= 50, "Process types can be at most 50")
	for _, typ := range sortedKeys(types) {
		p.check(typ != "" && len(typ) <= 63 && labelName.MatchString(typ), "Process type '"+cut(typ)+"' must be at most 63 letters, digits, '-', '_' or '.'")
		p.check(len(types[typ]) <= maxCommand, "Command of process type '"+cut(typ)+"' must be at most 4096 characters")
	}
	return p
}

// copyOf makes d a copy of another droplet.
func (r *request) copyOf(d cf.Droplet, source string) (cf.Droplet, error) {
	missing := cf.ErrUnprocessable.With("Source droplet does not exist or you do not have access.")
	from, found := r.view.Droplet(source)
	if !found {
		return d, missing
	}
	if _, err := r.appNamed(from.AppGUID, auth.AppWrite, "Droplet"); err != nil {
		return d, missing
	}
	if from.State != cf.DropletStaged {
		return d, cf.ErrUnprocessable.With("The source droplet is %s: only a staged one can be copied", from.State)
	}
	resource, app := d.Resource, d.AppGUID
	d = from
	d.Resource, d.AppGUID, d.PackageGUID, d.BuildGUID = resource, app, "", ""
	return d, nil
}

func uploadDroplet(r *request) (response, error) {
	d, a, err := r.droplet(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	if d.State != cf.DropletAwaitingUpload {
		return response{}, cf.ErrUnprocessable.With("Droplet may be uploaded only once. Create a new droplet to upload bits.")
	}
	b, command, err := r.receiveDroplet()
	if err != nil {
		return response{}, blob.AsCF(err)
	}
	staged := cf.DropletStaged
	u := state.DropletUpdate{GUID: d.GUID, State: &staged, Blob: &b, From: cf.DropletAwaitingUpload, At: r.api.Now()}
	if d.ProcessTypes[cf.ProcessWeb] == "" && command != "" {
		types := maps.Clone(d.ProcessTypes)
		types[cf.ProcessWeb] = command
		u.ProcessTypes = &types
	}
	ctx := r.auditApp("audit.app.droplet.upload", a, map[string]any{"droplet_guid": d.GUID})
	d, err = r.store().UpdateDroplet(ctx, u)
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Uploaded droplet for app with guid %s", a.GUID)
	resp, err := r.finished("droplet.upload", d.GUID, nil)
	resp.body = presentDroplet(r, d)
	return resp, err
}

// receiveDroplet stores the request's file, which must be a tar.gz, and
// returns the start command that it names.
func (r *request) receiveDroplet() (b blob.Blob, command string, err error) {
	up, err := blob.ReadUpload(r.Context(), r.api.BlobStore, r.Request, r.api.Limits.DropletSize)
	if err != nil {
		return b, "", err
	}
	defer up.Discard()
	if up.Bits == nil {
		return b, "", badDroplet("a file \"bits\" must be uploaded")
	}
	if command, err = readDroplet(io.NewSectionReader(up.Bits, 0, up.Bits.Size())); err != nil {
		return b, "", err
	}
	b, err = r.api.BlobStore.Commit(r.Context(), up.Bits)
	return b, command, err
}
