"""Every method of Pool under each start method, errors, deaths, interrupts and leaks."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

METHODS = ["fork", "spawn", "forkserver"]

FUNCTIONS = """
import itertools, multiprocessing, os, signal, sys, time
from multiprocessing.pool import MaybeEncodingError, Pool, RemoteTraceback, ThreadPool

def square(x):
    return x * x

def add(a, b=0, *, c=0):
    return a + b + c

def die_at_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def fail_at_three(x):
    if x == 3:
        raise ValueError(f"no {x}")
    return x

def nothing():
    pass
"""


@pytest.mark.parametrize("method", METHODS + ["threads", "subclass"])
def test_every_method(script, method):
    make = {
        "threads": "ThreadPool(3)",
        "subclass": "Sub(3)",
    }.get(method, f"multiprocessing.get_context({method!r}).Pool(3)")
    done = script(
        FUNCTIONS
        + f"""
class Sub(Pool):
    def _setup_queues(self):
        super()._setup_queues()

if __name__ == "__main__":
    squares = [x * x for x in range(40)]
    with {make} as pool:
        assert len(pool._pool) == 3 and all(worker.is_alive() for worker in pool._pool)
        assert pool.apply(add, (1, 2), {{"c": 3}}) == 6
        assert pool.map(square, range(40)) == squares == pool.map(square, iter(range(40)), 7)
        assert pool.starmap(add, [(1, 2), (3,)]) == [3, 3]
        assert list(pool.imap(square, range(40))) == squares == list(pool.imap(square, range(40), 6))
        assert sorted(pool.imap_unordered(square, iter(range(40)), 3)) == squares
        assert pool.map(square, []) == [] == list(pool.imap(square, []))
        called = []
        results = [
            pool.apply_async(add, (i,), callback=called.append, error_callback=called.append)
            for i in range(20)
        ]
        assert [result.get(30) for result in results] == list(range(20)) == sorted(called)
        listed = pool.map_async(fail_at_three, range(6), 2, None, called.append)
        listed.wait(30)
        assert listed.ready() and not listed.successful() and repr(called[-1]) == "ValueError('no 3')"
        slow = pool.apply_async(time.sleep, (0.5,))
        try:
            slow.get(0.01)
        except multiprocessing.TimeoutError:
            assert not slow.ready()
        endless = pool.imap(square, itertools.count())
        assert [next(endless) for _ in range(100)] == [x * x for x in range(100)]
        late = pool.starmap_async(add, [(1, 1)])
        assert late.get(30) == [2]
        pool.terminate()
        pool.join()
        try:
            pool.map(square, [1])
        except ValueError as error:
            print(error)
"""
    )
    assert (done.code, done.out, done.err) == (0, "Pool not running\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_death_fails_one_item_of_a_chunk(script, method):
    done = script(
        FUNCTIONS
        + f"""
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        result = pool.map_async(die_at_three, range(10), 10)
        try:
            result.get(60)
        except multiprocessing.WorkerLostError as error:
            print(str(error).split(":")[0])
        got = []
        iterator = pool.imap(die_at_three, range(8), 8)
        while True:
            try:
                got.append(next(iterator))
            except multiprocessing.WorkerLostError:
                got.append("lost")
            except StopIteration:
                break
        print(got)
        print(pool.map(square, range(4)))
""".replace("multiprocessing.WorkerLostError", "multiprocessing.context.WorkerLostError")
    )
    assert done.out == "task 3\n[0, 1, 2, 'lost', 4, 5, 6, 7]\n[0, 1, 4, 9]\n", done.err


def test_a_death_in_a_pool_with_queues_of_its_own(script):
    done = script(
        FUNCTIONS
        + """
class Sub(Pool):
    def _setup_queues(self):
        super()._setup_queues()

if __name__ == "__main__":
    with Sub(2) as pool:
        result = pool.map_async(die_at_three, range(10), 1)
        try:
            result.get(60)
        except multiprocessing.context.WorkerLostError as error:
            print("lost")
        print(pool.map(square, range(4)), len(pool._pool))
"""
    )
    assert done.out == "lost\n[0, 1, 4, 9] 2\n", done.err


def test_errors(script):
    done = script(
        FUNCTIONS
        + """
class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a)

class Unloadable:
    def __reduce__(self):
        return fail_at_three, (3,)

def raise_odd():
    raise Odd(1, 2)

def give_unloadable():
    return Unloadable()

def give_lambda():
    return lambda: 0

def leave():
    sys.exit(4)

def show(call, *args):
    try:
        print(call(*args))
    except Exception as error:
        print(type(error).__name__, str(error).split(". ")[0][:60], "|", type(error.__cause__).__name__)

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        show(pool.map, fail_at_three, [3])
        show(pool.apply, lambda: 0)
        show(pool.map, square, [lambda: 0])
        show(pool.apply, give_lambda)
        show(pool.apply, give_unloadable)
        show(pool.apply, raise_odd)
        show(pool.apply, leave)
        show(pool.imap, square, [1], 0)
        show(pool.apply, square, (2,))
        pool.close()
        show(pool.apply, nothing)
    for arguments in (0,), (2, 5), (2, None, (), 0):
        show(multiprocessing.Pool, *arguments)
    show(multiprocessing.get_context, "vfork")
"""
    )
    assert done.err == ""
    told = [re.sub("0x[0-9a-f]+", "0x...", line) for line in done.out.splitlines()]
    assert told == [
        "ValueError no 3 | RemoteTraceback",
        "PicklingError Can't pickle <function <lambda> at 0x...>: attribut | NoneType",
        "PicklingError Can't pickle <function <lambda> at 0x...>: attribut | NoneType",
        "MaybeEncodingError Error sending result: '<function give_lambda.<locals>.<lambd | "
        "RemoteTraceback",
        "ValueError no 3 | NoneType",
        "MaybeEncodingError Error sending result: 'Odd(1)' | RemoteTraceback",
        "WorkerLostError task 0: a worker died while it ran the task | NoneType",
        "ValueError Chunksize must be 1+, not 0 | NoneType",
        "4",
        "ValueError Pool not running | NoneType",
        "ValueError Number of processes must be at least 1 | NoneType",
        "TypeError initializer must be a callable | NoneType",
        "ValueError maxtasksperchild must be a positive int or None | NoneType",
        "ValueError cannot find context for 'vfork': the start methods are fork, | NoneType",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_at_any_moment(tmp_path, method):
    path = tmp_path / "program.py"
    path.write_text(
        "import multiprocessing, time\n"
        "def slow(x):\n"
        "    time.sleep(0.01)\n"
        "    return x\n"
        "if __name__ == '__main__':\n"
        "    print('begun', flush=True)\n"
        f"    with multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        "        while True:\n"
        "            pool.map(slow, range(20))\n"
        "            list(pool.imap_unordered(slow, range(20)))\n"
    )
    for _ in range(5):
        program = subprocess.Popen(
            [sys.executable, "-m", "kinfolk", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        program.stdout.readline()
        time.sleep(random.random() * 0.5)
        os.killpg(program.pid, signal.SIGINT)
        try:
            _, told = program.communicate(timeout=30)
        finally:
            left = _living(program.pid)
            subprocess.run(["pkill", "-KILL", "-g", str(program.pid)])
        assert told.count("KeyboardInterrupt") == 1 == told.count("Traceback"), told
        assert program.returncode == -signal.SIGINT and left == []


def _living(group):
    """The processes of a group that have not ended within some seconds."""
    for _ in range(100):
        found = subprocess.run(
            ["ps", "-o", "stat=,args=", "-g", str(group)], capture_output=True, text=True
        ).stdout.splitlines()
        living = [line for line in found if not line.startswith("Z")]
        if not living:
            return []
        time.sleep(0.05)
    return living


def test_pools_in_a_row_leak_nothing(script):
    done = script(
        FUNCTIONS
        + """
import gc, threading, warnings

def state():
    gc.collect()
    with open("/proc/self/status") as file:
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    with open("/proc/self/maps") as file:
        maps = len(file.readlines())
    return len(os.listdir("/proc/self/fd")), maps, rss

if __name__ == "__main__":
    def use():
        with multiprocessing.Pool(1) as pool:
            assert pool.map(square, [2]) == [4]
        queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
        queue.put(1)
        with lock:
            assert queue.get() == 1

    def forget():
        # Collected as it stands, with a feeding thread and a thread for call-backs.
        pool = multiprocessing.Pool(1)
        assert pool.apply_async(square, (3,), callback=str).get() == 9
        endless = pool.imap(square, itertools.count())
        assert [next(endless) for _ in range(3)] == [0, 1, 4]

    warnings.simplefilter("ignore", ResourceWarning)
    for _ in range(30):
        use()
        forget()
    fds, maps, rss = state()
    for i in range(1000):
        use()
        if i % 10 == 0:
            forget()
    more = state()
    assert more[0] == fds, (fds, more)
    assert more[1] <= maps + 4 and more[2] <= rss + 2048, (maps, rss, more)
    deadline = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.enumerate() == [threading.main_thread()]
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    assert children == [], children
    print("ok")
""",
        timeout=300,
    )
    assert (done.out, done.err) == ("ok\n", "")


def test_results_of_every_kind_and_size(script):
    """Small values do not travel as pickles, large ones not beside the others: nobody can tell."""
    done = script(
        """
        import enum, math, multiprocessing, os, random, signal

        class Number(int): pass
        class Text(str): pass
        class Colour(enum.IntEnum): RED = 1

        VALUES = [None, True, False, 0, -1, 2**63 - 1, -2**63, 2**63, 10**50, 0.0, -0.0, math.inf,
                  1e-320, b"", b"x" * 126, b"x" * 127, b"x" * 128, "", "e" * 127, "e" * 128,
                  "\\u00e9" * 63,
                  "\\u00e9" * 64, "\\U0001f600" * 40, "\\ud800", "a\\0b", Number(7), Text("t"), Colour.RED,
                  (1, "a"), [], {}, bytearray(b"b"), 1j, ...]

        def value(i): return VALUES[i]

        def block(seed):
            random.seed(seed)
            return bytes([seed % 251]) * random.choice([0, 1, 100, 10_000, 3_000_000])

        def half(i): return i // 2

        def killed(i):
            if i == 70_000: os.kill(os.getpid(), signal.SIGKILL)
            return half(i)

        def same(a, b): return type(a) is type(b) and repr(a) == repr(b)

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                for chunk in (1, 5, 100):
                    got = pool.map(value, range(len(VALUES)), chunk)
                    assert all(map(same, got, VALUES)), (got, VALUES)
                    assert math.isnan(pool.map(float, ["nan"], chunk)[0])
                for chunk in (1, 7, 40):
                    assert pool.map(block, range(40), chunk) == [block(i) for i in range(40)], chunk
                assert pool.map(half, range(200_000)) == [i // 2 for i in range(200_000)]
                job = pool.map_async(killed, range(200_000))
                try: job.get()
                except multiprocessing.ProcessError as e: print(type(e).__name__, e)
                assert pool.map(half, range(200_000), 200_000)[-1] == 99_999
            print("ok")
        """
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("WorkerLostError task 70000:") and done.out.endswith("\nok\n")


def test_the_steady_state_runs_no_python_of_ours(script):
    done = script(
        """
        import multiprocessing, os, sys

        OURS = os.path.dirname(multiprocessing.__file__)
        seen = []

        def record(frame, event, _):
            if event == "call" and frame.f_code.co_filename.startswith(OURS):
                seen.append(frame.f_code.co_qualname if sys.version_info >= (3, 11)
                            else frame.f_code.co_name)

        def task(i):
            sys.setprofile(record)
            return list(seen)

        def calls(function, *args):
            del seen[:]
            sys.setprofile(record)
            try:
                function(*args)
            finally:
                sys.setprofile(None)
            return len(seen)

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                for chunk in (1, 50):
                    assert not any(pool.map(task, range(500), chunk)), "in a worker"
                    # So many for the call, however many its tasks are.
                    few, many = (calls(pool.map, abs, range(n), chunk) for n in (100, 3000))
                    assert few == many, (few, many)
            for kind in ("Queue", "JoinableQueue", "SimpleQueue"):
                queue = getattr(multiprocessing, kind)()
                for value in (1, "text", b"x" * 100_000):
                    assert calls(queue.put, value) == 0, seen
                    assert calls(queue.get) == 0, seen
            print("ok")
        """
    )
    assert (done.code, done.out, done.err) == (0, "ok\n", "")
