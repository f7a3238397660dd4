package buildpacks

import "context"

// Binary runs what was pushed as it is: programs and scripts that need no
// building. As in Cloud Foundry it is only taken when it is named, and the
// start command comes from a Procfile or with the app.
type Binary struct{}

// Detect finds nothing: the buildpack must be named.
func (Binary) Detect(context.Context, *Context) (string, bool, error) { return "", false, nil }

// Supply has nothing to do.
func (Binary) Supply(context.Context, *Context) error { return nil }

// Finalize lets the app see what earlier buildpacks supplied.
func (Binary) Finalize(_ context.Context, c *Context) error {
	return writeProfile(c)
}

// Release names no command.
func (Binary) Release(context.Context, *Context) (Release, error) { return Release{}, nil }
