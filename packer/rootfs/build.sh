#!/bin/sh
# Builds the root file system of a node as a tar archive.
#
#   build.sh [--overlay DIR]... [--include PACKAGE,...] OUT.tar
#
# The same script serves the node containers of test/cluster (through image.sh) and the virtual machine
# images of packer/, so that both stand on the same packages and the same files. File times are fixed and
# caches, logs and machine identities are left out: two builds from the same Debian archive state give the
# same bytes. Set STACKATO_DEBIAN_MIRROR to build from another mirror (a snapshot pins the archive state).
# Needs root, mmdebstrap and a Debian archive keyring.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
SOURCE_DATE_EPOCH=1735689600 # 2025-01-01: the time of every file, not of the packages
export SOURCE_DATE_EPOCH

fail() {
	echo "packer/rootfs: $*" >&2
	exit 1
}

overlays="$here/overlay"
include=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/packages" | paste -sd, -)
while [ $# -gt 1 ]; do
	case $1 in
	--overlay) overlays="$overlays $2" ;;
	--include) include="$include,$2" ;;
	*) fail "unknown option $1; usage: build.sh [--overlay DIR]... [--include PACKAGE,...] OUT.tar" ;;
	esac
	shift 2
done
[ $# -eq 1 ] || fail "the name of the archive is missing; usage: build.sh [--overlay DIR]... OUT.tar"
out=$1

[ "$(id -u)" = 0 ] || fail "run this as root: it makes device files and mounts"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; install it with: apt-get install mmdebstrap"

# The archive is opened by group and others as nobody's secret: image files are not 0600 by accident.
umask 022

# One quoted hook per overlay: mmdebstrap gives the root's path as $1 to a hook.
set --
for dir in $overlays; do
	set -- "$@" "--customize-hook=tar -C '$dir' --owner=0 --group=0 -cf - . | tar -C \"\$1\" --keep-directory-symlink -xf -"
done

# With no mirror named mmdebstrap takes deb.debian.org with its updates and security suites.
# shellcheck disable=SC2086 # an empty mirror is no argument
exec mmdebstrap \
	--mode=root --variant=minbase --include="$include" \
	--aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	"$@" \
	--customize-hook='install -d -m 0755 "$1/opt/stackato/bin" "$1/etc/stackato" "$1/s/etc/kato" "$1/var/log/stackato"' \
	--customize-hook='install -d -m 0700 "$1/var/lib/stackato"' \
	--customize-hook='for b in stackato-agent kato stackato nomad consul; do ln -s "/opt/stackato/bin/$b" "$1/usr/local/bin/$b"; done' \
	--customize-hook='rm -f "$1/etc/machine-id" "$1/var/lib/dbus/machine-id"; : >"$1/etc/machine-id"; rm -f "$1/etc/hostname"' \
	--customize-hook='rm -rf "$1"/usr/share/locale "$1"/var/log/apt "$1"/var/log/*.log "$1"/var/cache/ldconfig/aux-cache' \
	"$suite" "$out" ${STACKATO_DEBIAN_MIRROR:-}
