"""Queues, locks, shared objects and managers under each start method, with deaths."""

import pytest

METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", METHODS)
def test_queues(script, method):
    done = script(
        f"""
import multiprocessing, os, queue, signal, sys

def work(tasks, results, joinable):
    for x in iter(tasks.get, None):
        results.put((x, os.getpid()))
    while True:
        joinable.get()
        joinable.task_done()

def put_and_die(tasks):
    tasks.put("last words")
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    ctx = multiprocessing.get_context({method!r})
    tasks, results, joinable = ctx.Queue(3), ctx.SimpleQueue(), ctx.JoinableQueue()
    child = ctx.Process(target=work, args=(tasks, results, joinable), daemon=True)
    child.start()
    sent = list(range(20)) + ["x" * 1000000, {{"a": [1]}}]
    for x in sent:
        tasks.put(x)
    tasks.put(None)
    got = [results.get() for _ in sent]
    assert [x for x, _ in got] == sent and {{pid for _, pid in got}} == {{child.pid}}
    for x in range(50):
        joinable.put(x)
    joinable.join()
    child.kill()
    child.join()
    for _ in range(3):
        tasks.put(0)
    assert tasks.full() and not tasks.empty() and tasks.qsize() == 3
    try:
        tasks.put(1, timeout=0.05)
    except queue.Full:
        pass
    for _ in range(3):
        tasks.get()
    try:
        tasks.get_nowait()
    except queue.Empty:
        pass
    dead = ctx.Process(target=put_and_die, args=(tasks,))
    dead.start()
    assert tasks.get(timeout=30) == "last words"
    dead.join()
    assert dead.exitcode == -9
    tasks.put(lambda: 0)  # told of on stderr, and dropped
    tasks.put("after")
    assert tasks.get() == "after"
    tasks.close()
    try:
        tasks.put(1)
    except ValueError as error:
        print("closed" in str(error))
"""
    )
    assert (done.code, done.out) == (0, "True\n"), done.err
    assert "PicklingError" in done.err and done.err.count("Traceback") == 1
    assert "tasks.put(lambda: 0)" in done.err


def test_a_queue_that_is_full_of_memory(script):
    done = script(
        """
        import os
        os.environ["KINFOLK_ARENA_QUOTA"] = "16M"
        import multiprocessing, time

        if __name__ == "__main__":
            queue = multiprocessing.Queue()
            kept = 0
            try:
                while True:
                    queue.put(bytes(1000000))
                    kept += 1
            except MemoryError as error:
                print("full", 5 < kept < 17)
            begin = time.monotonic()
            try:
                queue.put(bytes(1000000), timeout=0.2)
            except MemoryError:
                print("waited", time.monotonic() - begin >= 0.2)
            for _ in range(kept):
                queue.get()
            queue.put(1)
            print(queue.get())
        """
    )
    assert (done.out, done.err) == ("full True\nwaited True\n1\n", "")


def test_put_waits_for_memory_and_then_for_room(script):
    done = script(
        """
        import os
        os.environ["KINFOLK_ARENA_QUOTA"] = "16M"
        import multiprocessing, threading, time

        if __name__ == "__main__":
            hoard, queue = multiprocessing.Queue(), multiprocessing.Queue(1)
            try:
                while True:
                    hoard.put(bytes(1000000))
            except MemoryError:
                pass

            def swap():
                time.sleep(0.2)
                for _ in range(3):
                    hoard.get()
                queue.put("first")
                time.sleep(0.2)
                print(queue.get())

            thread = threading.Thread(target=swap)
            thread.start()
            queue.put(bytes(2000000), timeout=30)
            thread.join()
            print(len(queue.get()))
        """
    )
    assert (done.out, done.err) == ("first\n2000000\n", "")


def test_queue_subclasses_run_on_pipes(script):
    done = script(
        """
        import multiprocessing
        from multiprocessing.queues import Queue, SimpleQueue

        class Fed(Queue):
            def _start_thread(self):
                print("thread", flush=True)
                super()._start_thread()

        class Marked(SimpleQueue):
            def put(self, obj):
                super().put(("marked", obj))

        def work(fed, marked):
            marked.put(fed.get())

        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                ctx = multiprocessing.get_context(method)
                fed, marked = Fed(2, ctx=ctx), Marked(ctx=ctx)
                child = ctx.Process(target=work, args=(fed, marked))
                child.start()
                fed.put("x" * 100000)
                assert marked.get() == ("marked", "x" * 100000)
                child.join()
                assert {type(q._reader).__name__ for q in (fed, marked)} == {"Connection"}
                assert fed.empty() and fed.qsize() == 0
                fed.close()
                fed.join_thread()
        """
    )
    assert (done.out, done.err) == ("thread\nthread\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_locks_and_a_holder_that_is_killed(script, method):
    done = script(
        f"""
import multiprocessing, os, signal

def hold_and_die(what, ready):
    what.acquire()
    ready.set()
    signal.pause()

def use(lock, rlock, semaphore, condition, event, barrier, counter):
    with condition:
        condition.notify_all()
    event.wait()
    barrier.wait()
    for _ in range(1000):
        with lock:
            counter.value += 1
    with rlock, rlock, semaphore:
        pass

if __name__ == "__main__":
    ctx = multiprocessing.get_context({method!r})
    lock, rlock, semaphore = ctx.Lock(), ctx.RLock(), ctx.BoundedSemaphore(1)
    condition, event, barrier = ctx.Condition(), ctx.Event(), ctx.Barrier(3)
    counter = ctx.Value("i", 0)
    args = lock, rlock, semaphore, condition, event, barrier, counter
    children = [ctx.Process(target=use, args=args) for _ in range(2)]
    with condition:
        for child in children:
            child.start()
        assert condition.wait(30)
    event.set()
    barrier.wait(30)
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0] and counter.value == 2000
    for what in (lock, rlock, semaphore, ctx.Condition()):
        ready = ctx.Event()
        child = ctx.Process(target=hold_and_die, args=(what, ready))
        child.start()
        assert ready.wait(30) and not what.acquire(False)
        child.kill()
        child.join()
        assert what.acquire(timeout=30)
        what.release()
    print("ok")
"""
    )
    assert (done.code, done.out, done.err) == (0, "ok\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_shared_objects_and_managers(script, method):
    done = script(
        f"""
import ctypes, multiprocessing, os
from multiprocessing import shared_memory
from multiprocessing.managers import SharedMemoryManager

class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]

def change(value, array, point, name, listed, namespace, mapping, conn):
    value.value += 1
    array[:] = [x * 2 for x in array]
    point.x = 7
    segment = shared_memory.SharedMemory(name)
    segment.buf[:5] = b"hello"
    segment.close()
    listed[1] = "changed"
    listed.shm.close()
    namespace.done = True
    mapping["inner"]["key"] = os.getpid()
    conn.send([1, 2])

if __name__ == "__main__":
    ctx = multiprocessing.get_context({method!r})
    value, array = ctx.Value("i", 41), ctx.Array("d", [1, 2, 3])
    point = ctx.Value(Point, 1, 2)
    with SharedMemoryManager(ctx=ctx) as memory, ctx.Manager() as manager:
        segment = memory.SharedMemory(64)
        listed = memory.ShareableList([1, "text", None])
        namespace, mapping = manager.Namespace(), manager.dict(inner=manager.dict())
        ours, theirs = ctx.Pipe()
        child = ctx.Process(
            target=change,
            args=(value, array, point, segment.name, listed, namespace, mapping, theirs),
        )
        child.start()
        child.join()
        assert child.exitcode == 0
        assert (value.value, array[:], point.x) == (42, [2, 4, 6], 7)
        assert bytes(segment.buf[:5]) == b"hello" and listed[1] == "changed"
        assert namespace.done and mapping["inner"]["key"] == child.pid
        assert ours.recv() == [1, 2]
        listed.shm.close()
        segment.close()
    print("ok")
"""
    )
    assert (done.code, done.out, done.err) == (0, "ok\n", "")


def test_empty_of_a_closed_queue(script):
    done = script(
        """
import multiprocessing

unused, used = multiprocessing.Queue(), multiprocessing.Queue()
unused.close()
assert unused.empty()
used.put(1)
used.close()
try:
    used.empty()
except OSError as error:
    print(str(error).split()[-1])
"""
    )
    assert (done.out, done.err) == ("closed\n", "")


def test_bad_arguments_are_told(script):
    done = script(
        """
        import multiprocessing
        from multiprocessing import connection

        def told(kind, call, *args):
            try:
                call(*args)
            except kind as e:
                print(e)

        if __name__ == "__main__":
            told(TypeError, connection.Listener, 5)
            told(TypeError, connection.Client, 5)
            told(ValueError, connection.wait, [5.5])
            told(ValueError, connection.wait, [-1])
            told(ValueError, multiprocessing.Semaphore, -1)
        """
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "address type of 5 unrecognized: a path, or (host, port)",
        "address type of 5 unrecognized: a path, or (host, port)",
        "Invalid file object: 5.5 is no descriptor and has no fileno() that gives one",
        "file descriptor cannot be a negative integer (-1)",
        "the initial value must be from 0 to 2147483647, not -1",
    ]
