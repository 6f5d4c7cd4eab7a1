"""The examples print what they promise, unchanged and unmodified."""

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


SECTIONS = {
    "process": (
        "teller ran as a child of this process: True\n"
        "exit code of counter is 45\n"
        "alive: True among the children: True\n"
        "ended by SIGTERM\n"
    ),
    "contexts": (
        "['fork', 'forkserver', 'spawn']\n"
        "fork: fork ForkProcess\n"
        "spawn: spawn SpawnProcess\n"
        "forkserver: forkserver ForkServerProcess\n"
        "now spawn\n"
    ),
    "queues": (
        "[(0, 0), (1, 1), (2, 4), (3, 9), (4, 16), (5, 25), (6, 36), (7, 49), (8, 64), (9, 81)]\n"
    ),
    "pipe": (
        "ONE\n"
        "TWO\n"
        "something to receive: False\n"
        "the other end is closed\n"
        "5 b'23456\\x00\\x00\\x00'\n"
    ),
    "locks": (
        "counted to 3000\n"
        "met: True [0, 1, 2] each place once\n"
    ),
    "values": (
        "49 HELLO WORLD\n"
        "[(1.5, -6.25), (2.0, 3.0)] -> [(-6.25, 1.5), (3.0, 2.0)]\n"
        "[0, 2, 4, 6, 8]\n"
    ),
    "manager": (
        "was here {'deep': True}\n"
        "[4, 3, 2, 1, 0] Namespace(total=10)\n"
    ),
    "proxies": (
        "[0, 1, 4, 9, 16] ListProxy [4, 9]\n"
        "a copy of the object: True\n"
        "seen through the other\n"
        "81 [1, 2]\n"
    ),
    "custom_manager": (
        "120 False\n"
        "15 audited 15\n"
        "[3, 2, 1]\n"
    ),
    "remote_manager": (
        "from afar\n"
        "refused: AuthenticationError\n"
    ),
    "pools": (
        "multiply(6, 7) = 42\n"
        "[1.0, 0.5, 0.25]\n"
        "[2, 12]\n"
        "[1.0, 0.5, 0.25]\n"
        "[0.25, 0.5, 1.0]\n"
        "[0, 1, 4, 9, 16] [0, 1, 4, 9, 16]\n"
        "[0.5] [4]\n"
        "raised: division by zero | caused by RemoteTraceback\n"
        "not yet\n"
        "1.0 then an error 0.25\n"
    ),
    "listeners": (
        "[2.25, None, 'junk', <class 'float'>]\n"
        "b'hello'\n"
        "8 [42, 1729, 0, 0]\n"
        "answer: good bye\n"
        "[0, 1, 2, 10, 11, 12, 20, 21, 22]\n"
    ),
    "log_records": (
        "worker-0: step 0\n"
        "worker-1: step 1\n"
        "worker-2: step 2\n"
        "[INFO/MainProcess] doomed\n"
        "True\n"
    ),
    "shared_arrays": (
        "doubled in place: True\n"
        "['dry ice', b'bytes', -78.5, 100, None, True] 3\n"
    ),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_sections_of_the_documentation(example, name):
    done = example(f"sections/{name}.py")
    assert (done.code, done.out, done.err) == (0, SECTIONS[name], "")
