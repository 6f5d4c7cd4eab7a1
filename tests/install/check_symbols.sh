#!/bin/sh
# The library exports kin_... and nothing else, and every function that a header declares.
# $1: libkinfolk.so, $2: the source's top folder.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nm -D --defined-only "$1" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | sort -u >"$work/exported"
cat "$2"/include/kinfolk/*.h | sed '/^#/d' | tr '\n' ' ' | sed 's/__attribute__(([a-z_]*))//g' | sed 's/KIN_API/\n&/g' |
    sed -n 's/^KIN_API [^(;]*[ *]\(kin_[a-z0-9_]*\)(.*/\1/p' | sort -u >"$work/declared"
failures=0
report() { # number, name, file of what is wrong
    if [ -s "$3" ]; then
        echo "not ok $1 - $2: $(tr '\n' ' ' <"$3")"
        failures=1
    else
        echo "ok $1 - $2"
    fi
}
grep -v '^kin_[a-z]' "$work/exported" >"$work/foreign"
comm -13 "$work/exported" "$work/declared" >"$work/missing"
comm -23 "$work/exported" "$work/declared" >"$work/secret"
[ -s "$work/declared" ] || echo "no function found in the headers" >"$work/missing"
report 1 "only kin_... is exported" "$work/foreign"
report 2 "every declared function is exported" "$work/missing"
report 3 "every exported function is declared" "$work/secret"
echo 1..3
exit "$failures"
