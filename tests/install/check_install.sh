#!/bin/sh
# What `make install` installs is complete: programs are built against it by pkg-config alone, and
# run. $1: the build folder, $2: the source's top folder, $3: meson.
set -u
build=$1
top=$2
meson=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
failures=0

expect() { # name, command...
    n=$((n + 1))
    what=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok $n - $what"
    else
        failures=$((failures + 1))
        echo "not ok $n - $what"
        echo "$said" | sed 's/^/# /'
    fi
}

DESTDIR=$work/root "$meson" install -C "$build" --no-rebuild --quiet >"$work/log" 2>&1 || {
    sed 's/^/# /' "$work/log"
    echo "Bail out! meson install failed"
    exit 1
}
pc=$(find "$work/root" -name kinfolk.pc)
PKG_CONFIG_SYSROOT_DIR=$work/root
PKG_CONFIG_LIBDIR=${pc%/*}:$(pkg-config --variable pc_path pkg-config)
export PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR
LD_LIBRARY_PATH=$(dirname "$(find "$work/root" -name libkinfolk.so)")
export LD_LIBRARY_PATH

expect "kinfolk.pc is there" test -f "$pc"
version=$(sed -n 's/^#define KIN_VERSION "\(.*\)"/\1/p' "$top/include/kinfolk/base.h")
expect "it names the version" pkg-config --exact-version="$version" kinfolk
expect "every public header is installed, and no other" sh -c \
    "[ \"\$(cd '$work/root' && find . -name '*.h' | sed 's,.*/include/,,' | sort)\" = \
       \"\$(cd '$top/include' && find . -name '*.h' | sed 's,^./,,' | sort)\" ]"

# The expected output is in the file's name with .out.
for source in "$top"/tests/install/*.c; do
    name=$(basename "$source" .c)
    flags=$(pkg-config --cflags --libs kinfolk)
    # shellcheck disable=SC2086 # the flags are words
    expect "$name builds as C11" gcc -std=c11 -Wall -Wextra -pedantic -Werror "$source" $flags \
        -o "$work/$name"
    # shellcheck disable=SC2086
    expect "$name builds as C++17" g++ -std=c++17 -Wall -Wextra -pedantic -Werror -x c++ "$source" \
        -x none $flags -o "$work/$name++"
    for program in "$work/$name" "$work/$name++"; do
        expect "${program##*/} prints what it must" sh -c \
            "[ \"\$(timeout 20 '$program')\" = \"\$(cat '$top/tests/install/$name.out')\" ]"
    done
done
echo "1..$n"
exit "$((failures > 0))"
