# A thin door: meson does the work.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
DURATION ?= 60
PYTHON ?= /usr/bin/python3

# Debian's own python3 is what meson, pytest and the package are for: it comes first.
export PATH := /usr/bin:$(PATH)

# Without the tests' packages (./check installs them) the tests are left out.
TESTS = $(shell pkg-config --exists check && echo true || echo false)

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD) -Dtests=$(TESTS)

demo: all
	tools/run-examples $(BUILD)

test:
	tools/run-tests $(BUILD)

bench: all
	bench/run $(BUILD)

bench-quick: all
	bench/run --quick $(BUILD)

models:
	tools/run-models

stress: all
	tests/stress/run $(BUILD) $(DURATION)

check-sanitizers:
	tools/check-sanitizers

fuzz:
	fuzz/run $(DURATION)

fuzz-report:
	fuzz/report

python: all
	tools/build-python $(PYTHON) $(BUILD)

# CPython's own suite, in full, under every start method: for Debian's python3, or for each of PYTHONS
# (with the extension built for it).
PYTHONS ?= /usr/bin/python3
conformance: all
	set -e; for python in $(PYTHONS); do \
	    test "$$python" = /usr/bin/python3 || tools/build-python "$$python" $(BUILD); \
	    for method in fork spawn forkserver; do \
	        tests/conformance/run --python "$$python" --method $$method $(BUILD)/python; \
	    done; \
	done

install: all
	meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX))
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)

clean:
	rm -rf $(BUILD)

.PHONY: all conformance demo test bench bench-quick models stress check-sanitizers fuzz fuzz-report python install clean
