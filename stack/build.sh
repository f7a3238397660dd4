#!/bin/sh
# Builds the root file system of a stack as a tar archive.
#
#   build.sh small|full OUT.tar
#
# A stack is what apps are staged and run in. File times are fixed and caches, logs and identities are left out: two
# builds from the same Debian archive state give the same bytes. STACKATO_DEBIAN_MIRROR names another mirror (one of
# snapshot.debian.org pins the archive state). Needs root, mmdebstrap and a Debian archive keyring.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
SOURCE_DATE_EPOCH=1735689600 # 2025-01-01: the time of every file, not of the packages
export SOURCE_DATE_EPOCH

fail() {
	echo "stack: $*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "usage: build.sh small|full OUT.tar"
variant=$1 out=$2
case $variant in
small) lists="$here/packages.small" ;;
full) lists="$here/packages.small $here/packages.full" ;;
*) fail "unknown variant $variant; there are: small, full" ;;
esac
[ "$(id -u)" = 0 ] || fail "run this as root: it makes device files and mounts"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; install it with: apt-get install mmdebstrap"

# shellcheck disable=SC2086 # a list of files
include=$(cat $lists | sed -e 's/#.*//' -e '/^[[:space:]]*$/d' | paste -sd, -)
umask 022

# Java's packages want a folder for their manual pages, which are left out.
# With no mirror named mmdebstrap takes deb.debian.org with its updates and security suites.
# shellcheck disable=SC2016,SC2086 # $1 is for mmdebstrap's shell; an empty mirror is no argument
exec mmdebstrap \
	--mode=root --variant=minbase --include="$include" \
	--aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--essential-hook='mkdir -p "$1/usr/share/man/man1"' \
	--customize-hook="'$here/setup.sh' \"\$1\" '$variant'" \
	"$suite" "$out" ${STACKATO_DEBIAN_MIRROR:-}
