// Package blob keeps the large immutable things of the cloud: packages,
// droplets, uploaded buildpacks and build caches. A blob is named by the
// SHA-256 of its content; it is written once, read often and removed when no
// row names it any more.
//
// [Store] is what the rest of the controller sees. [Dir] keeps blobs in a
// directory of this node; [Cluster] lays the other controllers over it: a blob
// is on the disks of a majority of the voters before Put returns. Content is
// streamed everywhere: memory does not grow with the size of a blob.
//
// [Packages] is for what developers upload: it checks a zip before it becomes
// a package, and completes it with files that the space uploaded before.
package blob
