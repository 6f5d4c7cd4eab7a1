"""The first programs print what they promise, unchanged and unmodified."""

import pytest


@pytest.mark.parametrize("options", [(), ("-u",)], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "name, expected",
    [
        ("worker.py", "Worker process\nMain process\n"),
        ("hello.py", "Hello, Alice!\n"),
        ("pool_map.py", "Results: [2, 4, 6, 8, 10]\n"),
        ("pool_print.py", "[2, 4, 6, 8, 10]\n"),
    ],
)
def test_output(example, name, expected, options):
    done = example(name, *options)
    assert (done.code, done.out, done.err) == (0, expected, "")


@pytest.mark.parametrize("options", [(), ("-u",)], ids=["buffered", "unbuffered"])
def test_four_numbers_are_whole_lines(example, options):
    for _ in range(10):
        done = example("four.py", *options)
        assert (done.code, sorted(done.out.splitlines()), done.err) == (0, list("1234"), "")
