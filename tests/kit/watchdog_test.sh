#!/bin/sh
# The watchdog's own test: what it passes on, what it finds. $1: the watchdog.
set -u
failures=0
n=0
expect() { # name, wanted status, wanted text in stderr, command...
    n=$((n + 1))
    name=$1 want=$2 text=$3
    shift 3
    said=$("$@" 2>&1 >/dev/null)
    got=$?
    case "$said" in *"$text"*) found=1 ;; *) found=0 ;; esac
    if [ "$got" = "$want" ] && [ "$found" = 1 ]; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name # status $got, said: $(echo "$said" | tr "\n" " ")"
        failures=$((failures + 1))
    fi
}
expect "passes the status on" 7 "" "$1" sh -c 'exit 7'
expect "passes a signal on" 137 "" "$1" sh -c 'kill -9 $$'
expect "kills at the limit and says who waits" 124 "in hrtimer_nanosleep" "$1" -t 0.3 sh -c 'sleep 1000 & wait'
expect "finds what is left behind" 120 "sleep 1001" "$1" sh -c 'setsid sleep 1001 & exit 0'
expect "waits for what is about to leave" 0 "" "$1" sh -c 'sleep 0.2 & exit 0'
echo "1..$n"
exit "$failures"
