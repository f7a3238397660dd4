// Package staging leads builds from their creation to a droplet or to an error
// that says what to do.
//
// The Nomad job of a build is made by controller/deploy for as long as the
// build is staging. The stager in its container asks, through the node's
// fence, for what to do ([Stager.Spec]); with the token that it gets it fetches
// blobs, stores what it made and reports. A token is good for one build until
// its end; only its hash is kept. Whoever asks for another build's things, or
// from a node on which the build does not run, is refused.
//
// What nobody reports is noticed by [Stager.Run] on the Primary: a build that
// takes too long, that runs out of memory, that finds no place.
package staging
