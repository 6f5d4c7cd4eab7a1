"""The engine of pools whose workers or queues are not the library's own.

Tasks go through ``pool._quick_put`` and come back through ``pool._quick_get``, as tuples that others
know (joblib's and PyTorch's pools bring queues and workers of their own):

- to workers: ``(job, index, function, args, kwds)``, or None: end;
- from workers: ``(job, index, (ok, value))``, and before it, from ``work``, that the task was begun:
  ``(job, index, (None, pid))``.

One thread sends, one receives and looks after the workers. A worker that dies fails the task that it
had begun. If it died between taking a task and saying so, tasks that nobody has are sent again.
"""

import itertools
import os
import queue
import sys
import threading
import time
import weakref

from kinfolk import pool as pools
from kinfolk import util
from kinfolk.context import ProcessError, WorkerLostError

__all__ = ["Engine", "work"]

# Seconds: between two looks at the workers; and of silence after which a task that a dead worker may
# have had is taken for lost.
_LOOK = 0.1
_SILENCE = 1.0


def _map_items(style, func, items):
    """A chunk, in the worker: (results, errors), as ``_core.Job.outcome`` has them."""
    results, errors = [], None
    for index, item in enumerate(items):
        try:
            results.append(func(*item) if style == pools._CALL_STAR else func(item))
        except Exception as error:
            results.append(None)
            errors = errors or {}
            errors[index] = error
    return results, errors


def _map_remotely(style, func, items):
    """The same where the errors are pickled: with their tracebacks."""
    results, errors = _map_items(style, func, items)
    for index, error in (errors or {}).items():
        errors[index] = pools.ExceptionWithTraceback(error, error.__traceback__)
    return results, errors


class _Job:
    """What one call comes to; as ``_core.Job``."""

    def __init__(self, count, parts, on_done):
        self._results = [None] * count
        self._errors = None
        self._pending = parts
        self._on_done = on_done
        self._event = threading.Event()
        if parts == 0:
            self._finish()

    def _finish(self):
        self._event.set()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(self)

    def fail(self, first, count, error):
        """The same error for a part's items."""
        self._errors = self._errors or {}
        for index in range(first, first + count):
            self._errors[index] = error
        self._part_done()

    def succeed(self, first, results, errors):
        """A part's outcome."""
        self._results[first : first + len(results)] = results
        if errors:
            self._errors = self._errors or {}
            self._errors.update((first + index, error) for index, error in errors.items())
        self._part_done()

    def _part_done(self):
        self._pending -= 1
        if self._pending == 0:
            self._finish()

    def wait(self, timeout):
        """Whether all is done, waiting so many seconds."""
        return self._event.wait(timeout)

    def ready(self):
        """Whether all is done."""
        return self._event.is_set()

    def outcome(self):
        """(results, errors)"""
        return self._results, self._errors


class _Part:
    """A task: some items of a job."""

    def __init__(self, job, first, count, task):
        self.job, self.first, self.count, self.task = job, first, count, task


class Engine:
    """Runs a pool on its queues and workers."""

    def __init__(self, pool):
        self._processes = pool._processes
        self._threads = isinstance(pool, pools.ThreadPool)
        self._numbers = itertools.count()
        self._lock = threading.RLock()  # a finalizer may run inside
        self._parts = {}  # number -> part, until it is done
        self._begun = {}  # number -> pid
        self._state = pools.RUN
        self._suspicion = None  # since when a worker may have died with a task
        self._to_send = queue.SimpleQueue()
        self._wrap = pool._wrap_exception
        # Not the pool itself, which is to be collected when its user has forgotten it.
        self._pool = weakref.ref(pool)
        pool._setup_queues()
        self._put, self._get = pool._quick_put, pool._quick_get
        self._inqueue, self._outqueue = pool._inqueue, pool._outqueue
        self._workers = pool._workers
        self._ended = threading.Event()
        try:
            if type(pool)._repopulate_pool is not pools.Pool._repopulate_pool:
                pool._repopulate_pool()
            else:
                self.repopulate(pool)
        except BaseException:
            for one in self._workers:
                if one.exitcode is None:
                    one.terminate()
            for one in self._workers:
                one.join()
            raise
        self._own_threads = [
            threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)
        ]
        for thread in self._own_threads:
            thread.start()

    # --- called by the pool ---

    def submit(self, style, func, items, chunksize, on_done):
        """As ``_core.Pool.submit``."""
        count = len(items)
        job = _Job(count, -(-count // chunksize), on_done)
        for first in range(0, count, chunksize):
            chunk = items[first : first + chunksize]
            number = next(self._numbers)
            if style == pools._CALL_APPLY:
                args, kwds = chunk[0]
                task = (number, None, func, args, kwds)
            else:
                run = _map_remotely if self._wrap else _map_items
                task = (number, 0, run, (style, func, chunk), {})
            with self._lock:
                self._parts[number] = _Part(job, first, len(chunk), task)
            self._to_send.put(number)
        if self._state == pools.TERMINATE:
            self._fail_all()
        return job

    def close(self):
        """No more work."""
        if self._state == pools.RUN:
            self._state = pools.CLOSE

    def end(self):
        """Terminate, and wait for the workers' end."""
        self._state = pools.TERMINATE
        self._to_send.put(None)
        self._fail_all()
        if self._threads:
            self._dismiss()
        else:
            for one in self._workers:
                if one.exitcode is None:
                    one.terminate()
        self.join()

    def _fail_all(self):
        with self._lock:
            parts = list(self._parts.values())
            self._parts.clear()
        for part in parts:
            part.job.fail(
                part.first,
                part.count,
                ProcessError("the pool was terminated before the task was done"),
            )

    def join(self):
        """Wait for the workers' end."""
        if threading.current_thread() not in self._own_threads:
            self._ended.wait()
        if not self._threads:
            for one in self._workers:
                if one.pid is not None:
                    one.join()

    def repopulate(self, pool=None):
        """Start workers where some are missing."""
        pool = pool or self._pool()
        if pool is None:
            return
        while len(self._workers) < self._processes:
            one = pool.Process(
                pool._ctx,
                target=pools.worker,
                args=(
                    pool._inqueue,
                    pool._outqueue,
                    pool._initializer,
                    pool._initargs,
                    pool._maxtasksperchild,
                    pool._wrap_exception,
                ),
            )
            one.name = one.name.replace("Process", "PoolWorker")
            one.daemon = True
            one.start()
            self._workers.append(one)

    # --- the sending thread ---

    def _send(self):
        while True:
            number = self._to_send.get()
            if number is None:
                return
            with self._lock:
                part = self._parts.get(number)
            if part is None:
                continue
            try:
                self._put(part.task)
            except Exception as error:
                self._finish(number, lambda part: part.job.fail(part.first, part.count, error))
            del part

    # --- the receiving thread ---

    def _finish(self, number, tell):
        with self._lock:
            part = self._parts.pop(number, None)
            self._begun.pop(number, None)
        if part is not None:
            try:
                tell(part)
            except Exception:
                sys.excepthook(*sys.exc_info())

    def _take(self, message):
        number, index, (ok, value) = message
        if ok is None:
            with self._lock:
                if number in self._parts:
                    self._begun[number] = value
        elif not ok:
            self._finish(number, lambda part: part.job.fail(part.first, part.count, value))
        elif index is None:
            self._finish(number, lambda part: part.job.succeed(part.first, [value], None))
        else:
            self._finish(number, lambda part: part.job.succeed(part.first, *value))

    def _wait(self):
        """Whether a message is there, after a while or when a worker has ended."""
        if self._threads:
            return True
        from kinfolk.connection import wait

        sentinels = [one.sentinel for one in self._workers if one.exitcode is None]
        reader = self._outqueue._reader
        return reader in wait([reader, *sentinels], _LOOK)

    def _receive(self):
        try:
            while self._state != pools.TERMINATE:
                if self._wait():
                    try:
                        message = (
                            self._get(timeout=_LOOK) if self._threads else self._get()
                        )
                    except queue.Empty:
                        message = None
                    except (EOFError, OSError):
                        break
                    except Exception as error:
                        # A result that cannot be unpickled: whose it was is not known.
                        self._lose_begun(error)
                        message = None
                    if message is not None:
                        self._take(message)
                        self._suspicion = None if self._suspicion is None else time.monotonic()
                        del message
                        continue
                self._look_after_workers()
                if self._state == pools.CLOSE and not self._parts:
                    self._dismiss()
                    if not self._threads:
                        for one in self._workers:
                            one.join()
                    return
                if self._pool() is None and self._state == pools.RUN and not self._parts:
                    return
        finally:
            self._to_send.put(None)
            self._ended.set()

    def _lose_begun(self, error):
        for number in list(self._begun):
            self._finish(number, lambda part: part.job.fail(part.first, part.count, error))

    def _dismiss(self):
        for _ in self._workers:
            try:
                self._put(None)
            except Exception:
                return

    def _look_after_workers(self):
        gone = [one for one in self._workers if one.exitcode is not None]
        for one in gone:
            util.debug("cleaning up worker %s", one.name)
            one.join()
            self._workers.remove(one)
            mine = [number for number, pid in list(self._begun.items()) if pid == one.pid]
            for number in mine:
                error = WorkerLostError(
                    f"the worker of the task, process {one.pid}, ended with {one.exitcode}"
                )
                self._finish(
                    number, lambda part, error=error: part.job.fail(part.first, part.count, error)
                )
            if not mine and one.exitcode != 0:
                self._suspicion = time.monotonic()
        if gone and self._state in (pools.RUN, pools.CLOSE):
            pool = self._pool()
            if pool is not None:
                pool._repopulate_pool()
        if self._suspicion is not None and time.monotonic() - self._suspicion > _SILENCE:
            self._suspicion = None
            empty = getattr(self._inqueue, "empty", None)
            if empty is None or empty():
                with self._lock:
                    lost = [number for number in self._parts if number not in self._begun]
                for number in lost:
                    self._to_send.put(number)


# --- in a worker -------------------------------------------------------------------------------


def work(inqueue, outqueue, initializer, initargs, maxtasks, wrap_exception):
    """Run tasks until there are no more, or ``maxtasks`` of them."""
    if maxtasks is not None and not (isinstance(maxtasks, int) and maxtasks >= 1):
        raise AssertionError(f"Maxtasks {maxtasks!r} is not valid")
    put, get = outqueue.put, inqueue.get
    for queue_, name in ((inqueue, "_writer"), (outqueue, "_reader")):
        # In a process, the other ends are the parent's.
        if hasattr(queue_, name):
            getattr(queue_, name).close()
    if initializer is not None:
        initializer(*initargs)
    announces = wrap_exception
    done = 0
    while maxtasks is None or done < maxtasks:
        try:
            task = get()
        except (EOFError, OSError):
            util.debug("worker got EOFError or OSError -- exiting")
            break
        if task is None:
            util.debug("worker got sentinel -- exiting")
            break
        number, index, func, args, kwds = task
        if announces:
            put((number, index, (None, os.getpid())))
        try:
            result = True, func(*args, **kwds)
        except Exception as error:
            if wrap_exception:
                error = pools.ExceptionWithTraceback(error, error.__traceback__)
            result = False, error
        try:
            put((number, index, result))
        except Exception as error:
            wrapped = pools.MaybeEncodingError(error, result[1])
            util.debug("Possible encoding error while sending result: %s", wrapped)
            put((number, index, (False, wrapped)))
        task = number = index = func = args = kwds = result = None
        done += 1
    util.debug("worker exiting after %d tasks", done)

