#!/bin/sh
# The built man pages are free of warnings. $1: the source's top folder, $2: the build folder.
set -u
build=$2
n=0
failures=0
for page in "$build"/man/*.[1-8]; do
    n=$((n + 1))
    # As `man --warnings` does it, without a need for man.
    if said=$(groff -t -mandoc -Tutf8 -rLL=80n -ww -z "$page" 2>&1) && [ -z "$said" ]; then
        echo "ok $n - ${page##*/}"
    else
        failures=$((failures + 1))
        echo "not ok $n - ${page##*/}"
        echo "$said" | sed 's/^/# /'
    fi
done
echo "1..$n"
exit "$((failures > 0 || n == 0))"
