"""Pools of workers: the class surface over the engine in ``kinfolk._core``.

A pool whose workers are started by this package runs on the library's engine. A subclass that
overrides how workers or their queues are made (``_setup_queues``, ``_repopulate_pool``, ``Process``), a
context with a process class of its own, and ``ThreadPool`` run on ``kinfolk._piped``.
"""

import itertools
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import types
import warnings

from kinfolk import _core, context, process, util
from kinfolk.context import ProcessError, TimeoutError, WorkerLostError  # noqa: F401

__all__ = ["Pool", "ThreadPool"]

INIT = "INIT"
RUN = "RUN"
CLOSE = "CLOSE"
TERMINATE = "TERMINATE"

job_counter = itertools.count()

# How a worker calls the function: enum call_style in _core/task.h.
_CALL_ITEM, _CALL_STAR, _CALL_APPLY = range(3)


def mapstar(args):
    """``list(map(*args))``: what a chunk of a map comes to."""
    return list(map(*args))


def starmapstar(args):
    """``list(starmap(*args))``: what a chunk of a starmap comes to."""
    return list(itertools.starmap(*args))


# --- exceptions from workers ------------------------------------------------------------------


class RemoteTraceback(Exception):
    """The traceback of a worker's exception, as text: the ``__cause__`` of what is raised here."""

    def __init__(self, tb):
        self.tb = tb

    def __str__(self):
        return self.tb


class ExceptionWithTraceback:
    """An exception that is pickled with its traceback's text."""

    def __init__(self, exc, tb):
        text = "".join(traceback.format_exception(type(exc), exc, tb))
        self.exc = exc
        # It would keep the frames of the task alive.
        self.exc.__traceback__ = None
        self.tb = f'\n"""\n{text}"""'

    def __reduce__(self):
        return rebuild_exc, (self.exc, self.tb)


def rebuild_exc(exc, tb):
    """The exception, caused by a ``RemoteTraceback``."""
    exc.__cause__ = RemoteTraceback(tb)
    return exc


class MaybeEncodingError(Exception):
    """A result or an exception could not be pickled in the worker."""

    def __init__(self, exc, value):
        self.exc = repr(exc)
        self.value = repr(value)
        super().__init__(self.exc, self.value)

    def __str__(self):
        return f"Error sending result: '{self.value}'. Reason: '{self.exc}'"

    def __repr__(self):
        return f"<{type(self).__name__}: {self}>"


# --- results ----------------------------------------------------------------------------------


class ApplyResult:
    """What ``apply_async`` comes to."""

    def __init__(self, pool, callback=None, error_callback=None):
        self._pool = pool
        self._callback = callback
        self._error_callback = error_callback
        self._job = None
        # Set when the callback has been called; None where there is none.
        self._called = threading.Event() if callback or error_callback else None

    def _submit(self, style, func, items, chunksize):
        on_done = None if self._called is None else self._when_done
        self._job = self._pool._engine.submit(style, func, items, chunksize, on_done)
        return self

    def _when_done(self, job):
        self._job = job
        self._pool._call_later(self)

    def _call_back(self):
        """In the pool's thread for callbacks."""
        try:
            error = self._error()
            if error is None:
                if self._callback:
                    self._callback(self._value())
            elif self._error_callback:
                self._error_callback(error)
        finally:
            self._called.set()

    def _value(self):
        return self._job.outcome()[0][0]

    def _error(self):
        errors = self._job.outcome()[1]
        return errors[min(errors)] if errors else None

    def ready(self):
        """Whether the call is done."""
        if self._called is not None:
            return self._called.is_set()
        return self._job.ready()

    def successful(self):
        """Whether it raised no exception; ``ValueError`` if it is not done."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error() is None

    def wait(self, timeout=None):
        """Wait until it is done, at most ``timeout`` seconds."""
        if self._called is not None:
            self._called.wait(timeout)
        else:
            self._job.wait(timeout)

    def get(self, timeout=None):
        """The result, or the exception that the call raised; ``TimeoutError`` if it took too long."""
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        error = self._error()
        if error is None:
            return self._value()
        try:
            raise error
        finally:
            # The traceback has this frame, which must not have the traceback.
            del error

    __class_getitem__ = classmethod(types.GenericAlias)


AsyncResult = ApplyResult


class MapResult(ApplyResult):
    """What ``map_async`` and ``starmap_async`` come to: a list."""

    def _value(self):
        return self._job.outcome()[0]


class _Feed:
    """Gives an iterable's chunks to the engine, so many ahead of their consumer.

    Knows neither the pool nor the iterator over the results, so that both are collected while its
    thread waits. What may run in a finalizer only sets flags and puts into a ``SimpleQueue``.
    """

    def __init__(self, pool, style, func, iterable, chunksize, ordered):
        self._engine = pool._engine
        self._call = style, func, chunksize
        self._source = iter(iterable)
        # In the order of the items, or as they are done; None at the end.
        self.jobs = queue.SimpleQueue()
        self._ordered = ordered
        self.sent = 0
        self.exhausted = self._stopped = False
        self.failure = None
        self._feeds = pool._feeds
        self._feeds.add(self)
        room = max(16, 4 * pool._processes)
        if isinstance(iterable, (list, tuple, range)):
            self._thread = None
            self._filling = threading.Lock()
            self._fill(room)
        else:
            # It may take its time, or wait for what the consumer does.
            self._tokens = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=self._run, args=(room,), daemon=True, name="imap"
            )
            self._thread.start()

    def more(self, chunks=1):
        """So many more chunks may be sent."""
        if self._thread is None:
            self._fill(chunks)
        else:
            self._tokens.put(chunks)

    def join(self):
        """Wait until the source has given all that it has, to the engine."""
        if self._thread is not None:
            self._thread.join()

    def stop(self):
        """The workers have ended: the rest comes to nothing."""
        self._stopped = True
        self._end(ProcessError("the pool was terminated before its input was read"))
        if self._thread is not None:
            self._tokens.put(1)

    def _run(self, room):
        while self._send_chunk():
            room -= 1
            while room <= 0:
                room += self._tokens.get()

    def _fill(self, room):
        with self._filling:
            while room > 0 and self._send_chunk():
                room -= 1

    def _send_chunk(self):
        """Takes a chunk from the source and sends it; False at the end."""
        if self.exhausted or self._stopped:
            return False
        style, func, size = self._call
        on_done = None if self._ordered else self.jobs.put
        try:
            chunk = list(itertools.islice(self._source, size))
            if not chunk:
                self._end(None)
                return False
            job = self._engine.submit(style, func, chunk, len(chunk), on_done)
        except Exception as error:
            self._end(error)
            return False
        self.sent += 1
        if self._ordered:
            self.jobs.put(job)
        return True

    def _end(self, failure):
        if not self.exhausted:
            self.failure = failure
            self.exhausted = True
            self._feeds.discard(self)
            self.jobs.put(None)


class IMapIterator:
    """The results of ``imap``, one by one, in the order of the items.

    So many chunks are ahead of the consumer and no more, unless the pool is closed.
    """

    _ordered = True

    def __init__(self, pool, style, func, iterable, chunksize):
        self._pool = pool  # not to be collected before its results are read
        self._feed = _Feed(pool, style, func, iterable, chunksize, self._ordered)
        # All under the lock.
        self._lock = threading.Lock()
        self._job = None
        self._ended = False
        self._received = 0
        # Of the chunk that is being consumed.
        self._values = self._errors = None
        self._at = 0

    def _receive(self, end):
        """Makes the job whose results come next ``_job``, which is None at the end."""
        while self._job is None:
            if self._ended and (self._ordered or self._received == self._feed.sent):
                return
            try:
                job = self._feed.jobs.get(timeout=_left(end))
            except queue.Empty:
                raise TimeoutError from None
            if job is None:
                self._ended = True
            else:
                self._received += 1
                self._job = job

    def _next_chunk(self, end):
        self._receive(end)
        job = self._job
        if job is None:
            failure, self._feed.failure = self._feed.failure, None
            if failure is not None:
                raise failure
            raise StopIteration
        if not job.wait(_left(end)):
            raise TimeoutError
        self._job = None
        self._values, self._errors = job.outcome()
        self._at = 0
        self._feed.more()

    def next(self, timeout=None):
        """The next result, or the exception that the call raised; ``TimeoutError``: not yet."""
        end = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else max(0, timeout)):
            raise TimeoutError
        try:
            while self._values is None or self._at == len(self._values):
                self._values = None
                self._next_chunk(end)
            index = self._at
            self._at += 1
            if self._errors and index in self._errors:
                raise self._errors[index]
            value = self._values[index]
            self._values[index] = None
            return value
        finally:
            self._lock.release()

    __next__ = next

    def __iter__(self):
        return self


class IMapUnorderedIterator(IMapIterator):
    """The results of ``imap_unordered``, one by one, as they come to be."""

    _ordered = False


def _left(end):
    """Seconds until then; None: for ever."""
    return None if end is None else max(0, end - time.monotonic())


# --- the engine -------------------------------------------------------------------------------


class _Engine:
    """Workers of the library."""

    def __init__(self, pool, ctx, initializer, initargs, maxtasks):
        method = ctx.get_start_method()
        name = f"{ctx.Process.__name__.replace('Process', '') or method.capitalize()}PoolWorker"
        util._flush_std_streams()
        self._ticket = None
        me = process.current_process()
        numbers = [next(process._process_counter) for _ in range(pool._processes)]
        origin = (me._identity, numbers, me.name, os.getpid())

        def start_workers(method, command):
            words = command and [os.fsencode(word) for word in command]
            # Ctrl-C is not for the workers, from their first instruction on: see _enter_worker.
            with util._SigintBlocked():
                return _core.Pool(
                    pool._processes, start, maxtasks or 0, name, method, words, fds
                )

        if method == "fork":
            fds = ()
            start = (initializer, initargs, origin)
            self.core = start_workers(method, None)
        else:
            self._ticket = _Ticket(method)
            start = self._ticket.pack(initializer, initargs, origin)
            fds = self._ticket.fds
            if method == "spawn":
                from kinfolk import spawn

                self.core = start_workers(method, spawn.get_command_line())
            else:
                from kinfolk import forkserver

                self.core = forkserver._forkserver._use(start_workers)
        self.submit = self.core.submit
        self.close = self.core.close

    def pids(self):
        """The workers' process ids."""
        return self.core.pids()

    def end(self):
        """Terminate, and wait for the workers' end."""
        self.core.terminate()
        self.core.join(None)


class _Ticket:
    """What stands for the child while a fresh worker's start is pickled; see popen_spawn_posix."""

    def __init__(self, method):
        from kinfolk import popen_spawn_posix, resource_tracker

        self.method = method
        self.DupFd = popen_spawn_posix.Popen.DupFd
        self.tracker = resource_tracker.getfd()
        self.fds = [self.tracker]
        self._owned = []
        self._kept = []

    def duplicate_for_child(self, fd):
        """A duplicate that stays open for the workers that replace others."""
        duplicate = os.dup(fd)
        self.fds.append(duplicate)
        self._owned.append(duplicate)
        return duplicate

    def keep_for_child(self, obj):
        """Keeps ``obj`` alive as long as the pool."""
        self._kept.append(obj)

    def pack(self, initializer, initargs, origin):
        """The bytes that ``_begin_fresh_worker`` gets."""
        import io

        from kinfolk import spawn

        file = io.BytesIO()
        data = spawn.get_preparation_data("PoolWorker")
        data["tracker_fd"] = self.tracker
        data["start_method"] = self.method
        data["origin"] = origin
        pickle.dump(data, file)
        context.set_spawning_popen(self)
        try:
            context.reduction.dump((initializer, initargs), file)
        finally:
            context.set_spawning_popen(None)
        return file.getvalue()

    def __del__(self):
        for fd in self._owned:
            os.close(fd)


class _WorkerView:
    """A worker of the library's, as the process object that programs look for in ``_pool``."""

    exitcode = None
    daemon = True

    def __init__(self, pid):
        self.pid = self.ident = pid
        self.name = f"PoolWorker-{pid}"

    def is_alive(self):
        """Whether it runs."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] != b"Z"
        except OSError:
            return False

    def _send_signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def terminate(self):
        """Send SIGTERM: the pool replaces it."""
        self._send_signal(signal.SIGTERM)

    def kill(self):
        """Send SIGKILL: the pool replaces it."""
        self._send_signal(signal.SIGKILL)

    def join(self, timeout=None):
        """Wait until it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (end is None or time.monotonic() < end):
            time.sleep(0.005)

    def __repr__(self):
        return f"<{type(self).__name__} pid={self.pid}>"


# --- the pool ---------------------------------------------------------------------------------


class Pool:
    """``processes`` workers (default ``cpu_count()``) that run functions on items.

    A worker that dies fails only the item it was running, with ``WorkerLostError``; it is replaced
    and everything else completes. ``initializer(*initargs)`` runs in each worker first;
    ``maxtasksperchild`` replaces a worker after that many tasks.
    """

    _wrap_exception = True

    @staticmethod
    def Process(ctx, *args, **kwds):
        """The process object of a worker; where it is overridden, the pool runs on pipes."""
        return ctx.Process(*args, **kwds)

    def __init__(
        self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None
    ):
        self._state = INIT
        self._ctx = context or _context().get_context()
        if processes is None:
            processes = _core.cpu_count()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild < 1
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._maxtasksperchild = maxtasksperchild
        self._cache = {}
        self._feeds = set()  # of imap's, until they have sent all
        self._later = None
        self._workers = []
        if self._is_piped():
            from kinfolk import _piped

            self._engine = _piped.Engine(self)
        else:
            if process.current_process().daemon:
                raise AssertionError("daemonic processes are not allowed to have children")
            self._engine = _Engine(
                self, self._ctx, initializer, self._initargs, maxtasksperchild
            )
        self._terminate = util.Finalize(
            self, _end, args=(self._engine, self._feeds), exitpriority=15
        )
        self._state = RUN

    def _is_piped(self):
        cls = type(self)
        own = getattr(self._ctx, "Process", None)
        return (
            any(
                getattr(cls, name) is not getattr(Pool, name)
                for name in ("_setup_queues", "_repopulate_pool", "Process")
            )
            or not isinstance(self._ctx, context.BaseContext)
            or own not in _OWN_PROCESSES
        )

    # Overridden by others; see the module's docstring.

    def _setup_queues(self):
        self._inqueue = self._ctx.SimpleQueue()
        self._outqueue = self._ctx.SimpleQueue()
        self._quick_put = self._inqueue._writer.send
        self._quick_get = self._outqueue._reader.recv

    def _repopulate_pool(self):
        """Start workers where some are missing: the engine does by itself, unless piped."""
        repopulate = getattr(self._engine, "repopulate", None)
        if repopulate is not None:
            repopulate()

    @property
    def _pool(self):
        """The workers, as process objects."""
        pids = getattr(self._engine, "pids", None)
        return self._workers if pids is None else [_WorkerView(pid) for pid in pids()]

    @_pool.setter
    def _pool(self, workers):
        self._workers = workers

    # Callbacks run in one thread, which is started with the first.

    def _call_later(self, result):
        if self._later is None:
            self._later = queue.SimpleQueue()
            self._caller = threading.Thread(target=_call_back, args=(self._later,), daemon=True)
            self._caller.start()
        self._later.put(result)

    def _check_running(self):
        if self._state != RUN:
            raise ValueError("Pool not running")

    # The calls.

    def apply(self, func, args=(), kwds={}):
        """``func(*args, **kwds)``, computed by one worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(self, func, args=(), kwds={}, callback=None, error_callback=None):
        """The same, not waited for: an ``AsyncResult``. The callbacks get the result or the error."""
        self._check_running()
        result = ApplyResult(self, callback, error_callback)
        return result._submit(_CALL_APPLY, func, [(tuple(args), dict(kwds))], 1)

    def map(self, func, iterable, chunksize=None):
        """``[func(x) for x in iterable]``, computed by the workers in chunks of that size."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(self, func, iterable, chunksize=None, callback=None, error_callback=None):
        """The same, not waited for: an ``AsyncResult``."""
        return self._map(_CALL_ITEM, func, iterable, chunksize, callback, error_callback)

    def starmap(self, func, iterable, chunksize=None):
        """``[func(*x) for x in iterable]``, computed by the workers in chunks of that size."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(self, func, iterable, chunksize=None, callback=None, error_callback=None):
        """The same, not waited for: an ``AsyncResult``."""
        return self._map(_CALL_STAR, func, iterable, chunksize, callback, error_callback)

    def _map(self, style, func, iterable, chunksize, callback, error_callback):
        self._check_running()
        items = list(iterable)
        if chunksize is None:
            # Four chunks a worker.
            chunksize = -(-len(items) // (self._processes * 4))
        result = MapResult(self, callback, error_callback)
        return result._submit(style, func, items, max(1, chunksize))

    def imap(self, func, iterable, chunksize=1):
        """An iterator over ``func(x) for x in iterable``, computed by the workers."""
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func, iterable, chunksize=1):
        """The same, each result as soon as it is there."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(self, cls, func, iterable, chunksize):
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        return cls(self, _CALL_ITEM, func, iterable, chunksize)

    # The end.

    def close(self):
        """No more work; the workers end when what was accepted is done."""
        if self._state == RUN:
            self._state = CLOSE
            feeds = list(self._feeds)
            for feed in feeds:
                feed.more(float("inf"))
            if any(not feed.exhausted for feed in feeds):
                # What their sources are still to give was accepted too.
                threading.Thread(target=self._close_later, args=(feeds,), daemon=True).start()
            else:
                self._engine.close()

    def _close_later(self, feeds):
        for feed in feeds:
            feed.join()
        self._engine.close()

    def terminate(self):
        """End the workers at once, whatever they are doing."""
        self._state = TERMINATE
        self._terminate()

    def join(self):
        """Wait until the workers have ended; ``close`` or ``terminate`` comes first."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        if self._state == CLOSE:
            for feed in list(self._feeds):
                feed.join()
            self._engine.close()
        self._engine_join()
        later = self._later
        if later is not None and threading.current_thread() is not self._caller:
            called = threading.Event()
            later.put(called)
            called.wait()

    def _engine_join(self):
        core = getattr(self._engine, "core", None)
        if core is not None:
            core.join(None)
        else:
            self._engine.join()

    def __enter__(self):
        self._check_running()
        return self

    def __exit__(self, *exc_info):
        self.terminate()

    def __del__(self, _warn=warnings.warn, RUN=RUN):
        if getattr(self, "_state", None) == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)
        later = getattr(self, "_later", None)
        if later is not None:
            later.put(None)

    def __reduce__(self):
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self):
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__qualname__} state={self._state} "
            f"pool_size={len(self._pool)}>"
        )


def _end(engine, feeds):
    for feed in list(feeds):
        feed.stop()
    engine.end()


def _context():
    return context._default_context


_OWN_PROCESSES = frozenset(
    {
        context.Process,
        context.ForkProcess,
        context.SpawnProcess,
        context.ForkServerProcess,
    }
)


def _call_back(later):
    """The life of a pool's thread for callbacks: None ends it, an event says how far it is."""
    while True:
        result = later.get()
        if result is None:
            return
        if isinstance(result, threading.Event):
            result.set()
            continue
        try:
            result._call_back()
        except Exception:
            sys.excepthook(*sys.exc_info())
        del result


class ThreadPool(Pool):
    """A pool whose workers are threads of this process: nothing is pickled."""

    _wrap_exception = False

    @staticmethod
    def Process(ctx, *args, **kwds):
        """The thread of a worker."""
        from kinfolk.dummy import Process

        return Process(*args, **kwds)

    def __init__(self, processes=None, initializer=None, initargs=()):
        super().__init__(processes, initializer, initargs)

    def _setup_queues(self):
        self._inqueue = queue.SimpleQueue()
        self._outqueue = queue.SimpleQueue()
        self._quick_put = self._inqueue.put
        self._quick_get = self._outqueue.get


# --- in workers of the library: called by _core -----------------------------------------------


class _Worker(process.BaseProcess):
    """The current process inside a worker.

    ``name`` is the library's: a kind, and the worker's place in its pool, from 1. ``origin`` is the
    identity of the process that made the pool, the numbers that it gave its workers, its name and
    its id.
    """

    def __init__(self, name, origin):
        kind, _, place = name.rpartition("-")
        identity, numbers, parent_name, parent_pid = origin
        self._identity = (*identity, numbers[int(place) - 1])
        self._config = process.current_process()._config.copy()
        self._config["daemon"] = True
        self._parent_pid = parent_pid
        self._parent_name = parent_name
        self._popen = None
        self._closed = False
        self._name = f"{kind}-" + ":".join(map(str, self._identity))


def _enter_worker(name, origin):
    # Ctrl-C is the parent's to handle: it terminates the pool, or does not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    process._process_counter = itertools.count(1)
    process._children = set()
    process._become(_Worker(name, origin))
    util._finalizer_registry.clear()
    util._run_after_forkers()
    process.current_process().__dict__.pop("_forgotten", None)


def _begin_worker(name, start):
    """First thing in a forked worker: become it, run the initializer."""
    initializer, initargs, origin = start
    _enter_worker(name, origin)
    context._force_start_method("fork")
    if initializer is not None:
        initializer(*initargs)


def _begin_fresh_worker(name, data):
    """First thing in a worker of spawn or forkserver; ``data`` as ``_Ticket.pack`` made it."""
    import io

    from kinfolk import resource_tracker, spawn

    file = io.BytesIO(data)
    process.current_process()._inheriting = True
    try:
        preparation = pickle.load(file)
        if preparation.get("alias"):
            from kinfolk import _alias

            _alias.install()
        resource_tracker._resource_tracker._fd = preparation["tracker_fd"]
        spawn.prepare(preparation)
        initializer, initargs = pickle.load(file)
    finally:
        del process.current_process()._inheriting
    _enter_worker(name, preparation["origin"])
    if initializer is not None:
        initializer(*initargs)


def _end_worker():
    """Last thing in a worker that ends in an orderly way."""
    util._exit_function()
    util._flush_std_streams()


def _exit_worker(error):
    """A task raised SystemExit or the like: the worker ends with that code."""
    if isinstance(error, SystemExit):
        code = process._exit_code(error)
    else:
        traceback.print_exception(type(error), error, error.__traceback__)
        code = 1
    _end_worker()
    return code


def _encode_error(error):
    """The pickle of an exception and its traceback; of a stand-in if it cannot travel."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error.__traceback__ = None
    try:
        encoded = bytes(context.reduction.ForkingPickler.dumps((error, text)))
        pickle.loads(encoded)  # what cannot be rebuilt there would be lost on the way
        return encoded
    except Exception as reason:
        return pickle.dumps((MaybeEncodingError(reason, error), text))


def _raise_encoding_error(reason, value):
    """A result could not be pickled: raise what the caller is to see."""
    raise MaybeEncodingError(reason, value)


def _rebuild_error(pair):
    """The exception that a worker sent, with its traceback as the cause."""
    error, text = pair
    if isinstance(error, AttributeError):
        context.reduction.explain(error)
    return rebuild_exc(error, f'\n"""\n{text}"""')


# --- in workers of subclasses, and of ThreadPool ------------------------------------------------


def worker(
    inqueue,
    outqueue,
    initializer=None,
    initargs=(),
    maxtasks=None,
    wrap_exception=False,
):
    """The life of a worker on queues; see ``kinfolk._piped``."""
    from kinfolk import _piped

    _piped.work(inqueue, outqueue, initializer, initargs, maxtasks, wrap_exception)
