#!/bin/sh
# Every public header alone, and the program of the README, as C11 and C++17 by each compiler there
# is, without a warning. $1: the source's top folder.
set -u
top=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
failures=0

compile() { # compiler, language, standard, file
    n=$((n + 1))
    if said=$("$1" -x "$2" "-std=$3" -Wall -Wextra -pedantic -Werror -fsyntax-only \
        -I"$top/include" "$4" 2>&1); then
        echo "ok $n - $1 $3 ${4##*/}"
    else
        failures=$((failures + 1))
        echo "not ok $n - $1 $3 ${4##*/}"
        echo "$said" | sed 's/^/# /'
    fi
}

everywhere() {
    for compiler in gcc clang; do
        command -v "$compiler" >/dev/null 2>&1 && compile "$compiler" c c11 "$1"
    done
    for compiler in g++ clang++; do
        command -v "$compiler" >/dev/null 2>&1 && compile "$compiler" c++ c++17 "$1"
    done
}

for header in kinfolk.h $(cd "$top/include" && echo kinfolk/*.h); do
    # Twice: a header must bear being included again.
    file=$work/$(echo "$header" | tr / _).c
    printf '#include <%s>\n#include <%s>\nint used(void);\nint used(void) { return 0; }\n' \
        "$header" "$header" >"$file"
    everywhere "$file"
done
# The options macros are silent too: a variable of each.
file=$work/options.c
{
    echo '#include <kinfolk.h>'
    echo 'int used(void);'
    echo 'int used(void) { size_t sum = 0;'
    cat "$top"/include/kinfolk/*.h |
        sed -n 's/^struct \(kin_[a-z_]*_options\) {.*/\1/p' | sort -u |
        while read -r name; do
            macro=$(echo "$name" | tr a-z A-Z)_INIT
            echo "{ struct $name options = $macro; sum += options.size; }"
        done
    echo 'return sum > 0 ? 0 : 1; }'
} >"$file"
everywhere "$file"
for program in "$top"/tests/install/*.c; do
    everywhere "$program"
done
echo "1..$n"
exit "$((failures > 0))"
