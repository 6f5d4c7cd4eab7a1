#!/bin/sh
# The source distribution holds what the wheel is built from, and the wheel what a program needs: it
# runs from where pip puts it, under every start method, with the checkout out of reach.
# $1: the Python, $2: the source's top folder.
set -u
python=$1
top=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0

expect() { # name, command...
    n=$((n + 1))
    what=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok $n - $what"
    else
        echo "not ok $n - $what"
        echo "$said" | tail -40 | sed 's/^/# /'
        exit 1
    fi
}

# Debian's pip ignores what is in PYTHONPATH, and the sdist is made of what git knows.
unset PYTHONPATH
mkdir "$work/source" "$work/dist" "$work/elsewhere"
(cd "$top" && tar -c --exclude=./build* --exclude=./.git .) | tar -x -C "$work/source"
cd "$work/source" || exit 1
git init -q . && git add -A && git -c user.name=test -c user.email=test@localhost commit -qm test

expect "the source distribution is made" \
    "$python" -c "import mesonpy; mesonpy.build_sdist('$work/dist')"
cd "$work/elsewhere" || exit 1
expect "a wheel is built from it, with no network" \
    "$python" -m pip wheel --no-index --no-build-isolation --no-deps -q -w "$work/dist" \
    "$work"/dist/kinfolk-*.tar.gz
expect "pip installs it" \
    "$python" -m pip install --no-index --no-deps -q --target "$work/site" "$work"/dist/kinfolk-*.whl
PYTHONPATH=$work/site
export PYTHONPATH
expect "it has the version of the library" \
    "$python" -c "import kinfolk; assert kinfolk.__version__ == '$(sed -n \
        's/^#define KIN_VERSION "\(.*\)"/\1/p' "$top/include/kinfolk/base.h")', kinfolk.__version__"
expect "it brings its types" test -f "$work/site/kinfolk/py.typed" -a -f "$work/site/kinfolk/pool.pyi"

cat >squares.py <<'EOF'
import multiprocessing
import sys

import kinfolk


def square(x):
    return x * x, multiprocessing.__file__


if __name__ == "__main__":
    assert multiprocessing is kinfolk and kinfolk.__file__.startswith(sys.argv[2]), kinfolk
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(square, range(9)) == [(x * x, kinfolk.__file__) for x in range(9)]
EOF
for method in fork spawn forkserver; do
    expect "a pool runs under $method" \
        timeout 60 "$python" -m kinfolk squares.py $method "$work/site/"
done
echo "1..$n"
