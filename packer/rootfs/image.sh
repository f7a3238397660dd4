#!/bin/sh
# Prints the name of the node image on this machine's Docker Engine and builds it first where it is missing.
#
#   image.sh          print the name (the only line on standard output), building if needed
#   image.sh --name   print the name, build nothing
#
# Two layers: the root file system of build.sh (about a minute), and above it what only a container needs (a second).
# Both names carry a digest of everything that goes into them, so a changed script makes a new image and an unchanged
# one costs a few milliseconds. Callers may run at the same time: one builds, the others wait. Images of older digests
# are removed when nothing uses them. Progress goes to standard error.
set -eu

cd "$(dirname "$0")"

# digest PATH...: over names, modes and contents of the files.
digest() {
	{
		find "$@" -type f -exec stat -c '%n %a' {} + | LC_ALL=C sort
		find "$@" -type f -exec sha256sum {} + | LC_ALL=C sort
	} | sha256sum | cut -c1-12
}

rootfs_digest=$(digest build.sh packages overlay)
rootfs="stackato/rootfs:$rootfs_digest"
image="stackato/node:$(echo "$rootfs_digest $(digest image.sh container)" | sha256sum | cut -c1-12)"
if [ "${1:-}" = --name ]; then
	echo "$image"
	exit 0
fi

have() {
	docker image inspect "$1" >/dev/null 2>&1
}

fail() {
	echo "node image: $*" >&2
	exit 1
}

if have "$image"; then
	echo "$image"
	exit 0
fi
docker info >/dev/null 2>&1 || fail "no Docker Engine answers; start one with: scripts/docker"

exec 9>/run/stackato-node-image.lock
if ! flock -n 9; then
	echo "node image: another process builds it, waiting" >&2
	flock 9
fi
work=$(mktemp -d /var/tmp/stackato-node-image.XXXXXX)
build=
trap '[ -z "$build" ] || kill "$build" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
start=$(date +%s)

build_rootfs() {
	echo "node image: building $rootfs (once per machine, about a minute)" >&2
	./build.sh "$work/root.tar" >"$work/log" 2>&1 9>&- &
	build=$!
	while kill -0 "$build" 2>/dev/null; do
		sleep 1
		elapsed=$(($(date +%s) - start))
		[ $((elapsed % 10)) -ne 0 ] || echo "node image: ${elapsed} s, $(grep '^I: ' "$work/log" | tail -n 1 | cut -c4-)" >&2
	done
	wait "$build" || {
		tail -n 20 "$work/log" >&2
		fail "the build failed (lines above); if the Debian archive was out of reach, run the command again"
	}
	build=
	docker import "$work/root.tar" "$rootfs" >/dev/null
	rm -f "$work/root.tar"
}

have "$rootfs" || build_rootfs
if ! have "$image"; then
	mkdir "$work/context"
	cp -a container "$work/context/"
	cat >"$work/context/Dockerfile" <<END
FROM $rootfs
COPY container/ /
ENV PATH=/opt/stackato/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/lib/stackato/node-init"]
END
	DOCKER_BUILDKIT=0 docker build --quiet --tag "$image" "$work/context" >/dev/null 2>"$work/log" || {
		cat "$work/log" >&2
		fail "docker build failed (lines above)"
	}
	echo "node image: $image built in $(($(date +%s) - start)) s" >&2
fi
for old in $(docker image ls --format '{{.Repository}}:{{.Tag}}' --filter 'reference=stackato/node' --filter 'reference=stackato/rootfs'); do
	[ "$old" = "$image" ] || [ "$old" = "$rootfs" ] ||
		docker image rm "$old" >/dev/null 2>&1 || true # a running cluster uses it: it goes with the next build
done
echo "$image"
