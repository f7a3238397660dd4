# Sourced by the other scripts: messages, long steps with progress, failure.
# shellcheck shell=bash

say() { printf '%s\n' "$*"; }

# die MESSAGE [REMEDY]: what failed, and what to do about it.
die() {
	printf 'error: %s\n' "$1" >&2
	if [ $# -gt 1 ]; then
		printf '       %s\n' "$2" >&2
	fi
	exit 1
}

# step LABEL COMMAND...: runs COMMAND with its output in a log file. Prints how
# long it takes: a counter on a terminal, elsewhere a line each 30 seconds. On
# failure prints the end of the log, keeps the log and returns the command's code.
step() {
	local label=$1 log pid started=$SECONDS shown=$SECONDS code=0
	shift
	log=$(mktemp "${TMPDIR:-/tmp}/stackato-step.XXXXXX")
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# A background command ignores Ctrl-C in a script: pass signals on by hand.
	trap 'kill -TERM "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; rm -f "$log"; exit 130' INT TERM
	while kill -0 "$pid" 2>/dev/null; do
		if [ -t 1 ]; then
			printf '\r%s … %ds ' "$label" $((SECONDS - started))
		elif [ $((SECONDS - shown)) -ge 30 ]; then
			shown=$SECONDS
			say "$label … $((SECONDS - started))s"
		fi
		sleep 0.2
	done
	wait "$pid" || code=$?
	trap - INT TERM
	if [ -t 1 ]; then printf '\r\033[K'; fi
	if [ "$code" -ne 0 ]; then
		printf '%s: FAILED after %ds. The end of its output (all of it: %s):\n' \
			"$label" $((SECONDS - started)) "$log" >&2
		tail -n 40 "$log" | sed 's/^/  | /' >&2
		return "$code"
	fi
	rm -f "$log"
	say "$label: done in $((SECONDS - started))s"
}

# need_root WHAT: refuses to go on as another user.
need_root() {
	[ "$(id -u)" -eq 0 ] || die "$1 needs root" "run it again with sudo, or as root"
}

# busy: others want this machine so much that no time measured on it says anything.
busy() { awk -v cores="$(nproc)" '{ exit !($1 > 3 * cores) }' /proc/loadavg; }

# need_space DIR MIB WHAT: refuses to begin what would fill the disk. DIR, or the
# nearest folder above it that exists, must have so much room.
need_space() {
	local dir=$1 free
	while [ ! -d "$dir" ] && [ "$dir" != / ]; do dir=$(dirname "$dir"); done
	free=$(df --output=avail -B 1M "$dir" | tail -n 1)
	[ "$free" -ge "$2" ] || die "$3 needs about $2 MiB, and $dir has $((free)) MiB left" \
		"make room there and run this again; what takes it: du -xh -d 2 $dir | sort -h | tail"
}

# detached COMMAND…: in a subshell, becomes a command that outlives the script. It keeps nothing open but the three: who
# waits for a lock that the script, or whoever called it, holds must not wait for the command's end.
detached() {
	local fd
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || eval "exec $fd>&-"
	done
	exec "$@"
}
