"""Pool: results, errors, deaths and ends."""

import pytest


def test_map_apply_starmap(script):
    done = script(
        """
        import multiprocessing, os

        def twice(x): return x * 2
        def add(a, b, c=0): return a + b + c
        def pid(_): return os.getpid()

        if __name__ == "__main__":
            with multiprocessing.Pool(3) as pool:
                assert pool.map(twice, range(1000)) == [x * 2 for x in range(1000)]
                assert pool.map(twice, []) == []
                assert pool.map(twice, iter("abc"), chunksize=2) == ["aa", "bb", "cc"]
                assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
                assert pool.apply(add, (1, 2), {"c": 3}) == 6
                big = b"x" * 5_000_000
                assert pool.apply(twice, (big,)) == big * 2
                assert os.getpid() not in pool.map(pid, range(4))
            print("ok")
        """
    )
    assert (done.code, done.out, done.err) == (0, "ok\n", "")


def test_an_exception_brings_its_traceback(script):
    done = script(
        """
        import multiprocessing, traceback

        class Odd(Exception):
            def __init__(self, a, b):
                super().__init__(f"{a}{b}")

        def check(x):
            if x == 3: raise KeyError("three")
            if x == 4: raise Odd(1, 2)
            if x == 5: return lambda: None
            return x

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                try:
                    pool.map(check, [1, 2, 3])
                except KeyError as error:
                    assert error.args == ("three",)
                    assert 'raise KeyError("three")' in str(error.__cause__)
                for bad in 4, 5:
                    try:
                        pool.apply(check, (bad,))
                    except multiprocessing.pool.MaybeEncodingError as error:
                        print(bad, type(error).__name__)
                print(pool.map(check, [1, 2]))
        """
    )
    assert (done.code, done.out, done.err) == (
        0,
        "4 MaybeEncodingError\n5 MaybeEncodingError\n[1, 2]\n",
        "",
    )


def test_a_dead_worker_costs_its_item_only(script):
    done = script(
        """
        import multiprocessing, os, signal, sys

        def work(x):
            if x == "kill": os.kill(os.getpid(), signal.SIGKILL)
            if x == "exit": os._exit(3)
            if x == "sys.exit": sys.exit(4)
            return x

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                for how in "kill", "exit", "sys.exit":
                    try:
                        pool.map(work, [1, how, 2])
                    except multiprocessing.WorkerLostError as error:
                        print(how, "lost")
                    assert pool.map(work, range(50)) == list(range(50))
        """
    )
    assert (done.code, done.out) == (0, "kill lost\nexit lost\nsys.exit lost\n")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_names_of_workers(script, method):
    """No two children of a process have the same name, and those of a child begin with its own."""
    done = script(
        f"""
        import multiprocessing, time

        def name(_):
            time.sleep(0.1)
            me = multiprocessing.current_process()
            assert me.name.endswith("Worker-" + ":".join(map(str, me._identity))), me.name
            return me.name.partition("-")[2]

        def both():
            with multiprocessing.Pool(1) as pool:
                print(pool.map(name, range(1)))

        if __name__ == "__main__":
            multiprocessing.set_start_method("{method}")
            child = multiprocessing.Process(target=both)
            with multiprocessing.Pool(2) as one, multiprocessing.Pool(2) as two:
                a, b = (pool.map_async(name, range(8), 1) for pool in (one, two))
                print(sorted(set(a.get())), sorted(set(b.get())), flush=True)
            child.start()
            child.join()
        """
    )
    assert (done.code, done.out, done.err) == (0, "['2', '3'] ['4', '5']\n['1:1']\n", "")


def test_initializer_and_maxtasksperchild(script):
    done = script(
        """
        import multiprocessing, os

        stored = None

        def store(value):
            global stored
            stored = value

        def fetch(_):
            return stored, os.getpid(), multiprocessing.current_process().name

        if __name__ == "__main__":
            with multiprocessing.Pool(2, store, ("here",), maxtasksperchild=5) as pool:
                got = pool.map(fetch, range(40), 1)
            assert {value for value, _, _ in got} == {"here"}
            assert len({pid for _, pid, _ in got}) >= 8, got
            assert all(name.startswith("ForkPoolWorker-") for _, _, name in got)
            print("ok")
        """
    )
    assert (done.code, done.out, done.err) == (0, "ok\n", "")


def test_failing_initializer_is_an_error_not_a_hang(script):
    done = script(
        """
        import multiprocessing

        def fail():
            raise RuntimeError("not today")

        if __name__ == "__main__":
            with multiprocessing.Pool(2, fail) as pool:
                try:
                    pool.map(abs, [1])
                except multiprocessing.WorkerInitError:
                    print("told")
        """,
        timeout=50,
    )
    assert (done.code, done.out) == (0, "told\n")
    assert "RuntimeError: not today" in done.err


def test_closed_pool(script):
    done = script(
        """
        import multiprocessing

        if __name__ == "__main__":
            pool = multiprocessing.Pool(2)
            try:
                pool.join()
            except ValueError:
                print("join needs close")
            pool.close()
            try:
                pool.map(abs, [1])
            except ValueError:
                print("closed")
            pool.join()
            for bad in 0, -1:
                try:
                    multiprocessing.Pool(bad)
                except ValueError:
                    print("bad")
        """
    )
    assert (done.code, done.out, done.err) == (0, "join needs close\nclosed\nbad\nbad\n", "")


def test_exit_with_an_open_pool(script):
    done = script(
        """
        import multiprocessing, time

        if __name__ == "__main__":
            pool = multiprocessing.Pool(2)
            print(pool.map(abs, [-1, -2]))
        """,
        timeout=30,
    )
    assert (done.code, done.out, done.err) == (0, "[1, 2]\n", "")


def test_interrupt_ends_a_map(script):
    done = script(
        """
        import multiprocessing, os, signal, threading, time

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
                try:
                    pool.map(time.sleep, [100, 100])
                except KeyboardInterrupt:
                    print("interrupted")
        """,
        timeout=30,
    )
    assert (done.code, done.out) == (0, "interrupted\n")
