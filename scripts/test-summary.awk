#!/usr/bin/awk -f
# Makes of the output of "go test -v" what is worth keeping: a line for each package with how many tests passed, failed and were
# skipped, the name of each that did not pass, and of tests with nodes each result and what it said of itself.
# usage: scripts/test long -v 2>&1 | tee FULL | scripts/test-summary.awk >docs/test-long.log
function flush_said() {
	for (i = 1; i <= lines; i++) print "    " said[i]
	lines = 0
}
/^=== (RUN|NAME)/ { lines_of = $3; next }
/^ +[a-z_]+_test\.go:[0-9]+: / {
	text = $0
	sub(/^ +[a-z_]+_test\.go:[0-9]+: /, "", text)
	gsub(/\/tmp\/[^ :"]*/, "TMP", text)
	if (lines < 60) said[++lines] = lines_of ": " substr(text, 1, 160)
	next
}
/^(    )*--- (PASS|FAIL|SKIP)/ {
	depth = index($0, "-")
	result = $0
	if (depth == 1) {
		if ($2 == "PASS:") passed++
		if ($2 == "FAIL:") failed++
		if ($2 == "SKIP:") skipped++
		results[++n] = "  " substr(result, 5)
		for (i = 1; i <= lines; i++) results[++n] = "      " said[i]
		lines = 0
	} else if (depth == 5) {
		results[++n] = "    " substr(result, 9)
	}
	next
}
/^(ok|FAIL)[ \t]+[a-z]/ {
	printf "%-4s %s %s: %d passed, %d failed, %d skipped\n", $1, $2, $3, passed, failed, skipped
	nodes = $2 ~ /\/test\//
	for (i = 1; i <= n; i++)
		if (nodes || results[i] ~ /^ +(FAIL|SKIP)/) print results[i]
	total += passed; bad += failed; left += skipped
	n = passed = failed = skipped = lines = 0
}
END { printf "\n%d passed, %d failed, %d skipped\n", total, bad, left }
