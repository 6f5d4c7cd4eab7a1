#!/bin/sh
# check_example.sh NAME PROGRAM EXPECTED: the program ends with 0, says nothing on stderr, and prints
# the lines of EXPECTED, each of which is an extended regular expression for a whole line. A line
# `unordered` in front: in any order.
set -u
program=$2
expected=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$program" >"$work/out" 2>"$work/err"
status=$?
if [ "$(head -n 1 "$expected")" = unordered ]; then
    tail -n +2 "$expected" | sort >"$work/expected"
    sort -o "$work/out" "$work/out"
else
    cp "$expected" "$work/expected"
fi
wrong=
[ "$status" = 0 ] || wrong="status $status"
[ ! -s "$work/err" ] || wrong="$wrong; it wrote to stderr"
[ "$(wc -l <"$work/out")" = "$(wc -l <"$work/expected")" ] || wrong="$wrong; number of lines"
number=0
while IFS= read -r pattern; do
    number=$((number + 1))
    sed -n "${number}p" "$work/out" | grep -Exq -e "$pattern" || wrong="$wrong; line $number is not: $pattern"
done <"$work/expected"

echo "1..1"
if [ -z "$wrong" ]; then
    echo "ok 1 - $1"
else
    echo "not ok 1 - $1"
    echo "# $wrong"
    sed 's/^/# /' "$work/out" "$work/err"
    exit 1
fi
