package state

import (
	"github.com/stackato/stackato/wire/instance"
)

// AppBlobs returns every blob that a row of an app names: packages, droplets,
// build caches, what process versions and tasks run. Whatever is in none of
// the lists of references may be swept.
func (v *View) AppBlobs() map[string]instance.Blob {
	out := map[string]instance.Blob{}
	add := func(b instance.Blob) {
		if b.Digest != "" {
			out[b.Digest] = b
		}
	}
	for a := range apps.each(v, "id") {
		add(a.BuildCache)
	}
	for p := range packages.each(v, "id") {
		add(p.Blob)
	}
	for d := range droplets.each(v, "id") {
		add(d.Blob)
	}
	for p := range processVersions.each(v, "id") {
		add(p.Droplet)
	}
	for t := range tasks.each(v, "id") {
		add(t.Droplet)
	}
	return out
}
