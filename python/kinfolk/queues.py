"""Queues of objects: the class surface over ``_core.Queue``.

A subclass that overrides how objects get from ``put`` to the pipe (``_feed``, ``_start_thread``; of a
``SimpleQueue``: its state, ``put`` or ``get``) runs on real pipes instead: see ``_Feeding`` and
``_Piping``.
"""

import collections
import os
import sys
import threading
import time
import types
import weakref
from queue import Empty, Full

from kinfolk import _core, connection, context, synchronize, util

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]


class _End:
    """A queue's end as the connection that programs look for in ``_reader`` and ``_writer``."""

    def __init__(self, queue):
        self._queue = queue
        self.closed = False

    def _check(self):
        if self.closed:
            raise OSError("handle is closed")

    def close(self):
        """This process uses it no more."""
        self.closed = True
        self._queue._close_end(self.writable)

    def __getstate__(self):
        context.assert_spawning(self)
        return self.__dict__


class _Reader(_End):
    readable, writable = True, False

    def fileno(self):
        """A descriptor that is readable when a message may be there; ``connection.wait`` knows."""
        self._check()
        return self._queue._fileno()

    def poll(self, timeout=0.0):
        """Whether a message is there."""
        self._check()
        return self._queue._poll(timeout)

    def _confirm(self):
        return self._queue._poll(0)

    def recv_bytes(self, maxlength=None):
        """The next message."""
        self._check()
        return self._queue._get_bytes(None)

    def recv(self):
        """The next object."""
        return context.reduction.ForkingPickler.loads(self.recv_bytes())


class _Writer(_End):
    readable, writable = False, True

    def fileno(self):
        """The queue's descriptor."""
        self._check()
        return self._queue._fileno()

    def send_bytes(self, buf, offset=0, size=None):
        """Put a message."""
        self._check()
        view = memoryview(buf).cast("B")
        self._queue._put_bytes(view[offset : None if size is None else offset + size])

    def send(self, obj):
        """Put an object."""
        self.send_bytes(context.reduction.ForkingPickler.dumps(obj))


def _fork_context(ctx):
    return ctx.get_start_method() == "fork"


# --- over real pipes --------------------------------------------------------------------------

# Put into a buffer, it ends the thread.
_sentinel = object()


class _Piping:
    """A ``SimpleQueue`` over a pipe, each end under a lock that survives its owner."""

    def _make_pipe(self, ctx):
        self._reader, self._writer = connection.Pipe(duplex=False)
        self._rlock = ctx.Lock()
        self._wlock = ctx.Lock()
        self._poll = self._reader.poll

    def __getstate__(self):
        context.assert_spawning(self)
        return self._reader, self._writer, self._rlock, self._wlock

    def __setstate__(self, state):
        self._reader, self._writer, self._rlock, self._wlock = state
        self._poll = self._reader.poll

    def put(self, obj):
        """Put an object."""
        data = context.reduction.ForkingPickler.dumps(obj)
        with self._wlock:
            self._writer.send_bytes(data)

    def get(self):
        """Take the oldest object; waits for one."""
        with self._rlock:
            data = self._reader.recv_bytes()
        return context.reduction.ForkingPickler.loads(data)


class _Feeding:
    """A ``Queue`` over a pipe that a thread of each putting process feeds from a buffer."""

    _ignore_epipe = False
    _closed = False

    def _make_pipe(self, ctx):
        self._reader, self._writer = connection.Pipe(duplex=False)
        self._rlock = ctx.Lock()
        self._wlock = ctx.Lock()
        self._sem = ctx.BoundedSemaphore(self._maxsize)
        self._reset()
        util.register_after_fork(self, _Feeding._after_fork)

    def _after_fork(self):
        self._reset(after_fork=True)

    def _reset(self, after_fork=False):
        if after_fork:
            self._notempty._at_fork_reinit()
        else:
            self._notempty = threading.Condition(threading.Lock())
        self._buffer = collections.deque()
        self._thread = None
        self._jointhread = None
        self._joincancelled = False
        self._closed = False
        self._close = None
        self._send_bytes = self._writer.send_bytes
        self._recv_bytes = self._reader.recv_bytes
        self._poll = self._reader.poll

    def __getstate__(self):
        context.assert_spawning(self)
        return (
            self._ignore_epipe,
            self._maxsize,
            self._reader,
            self._writer,
            self._rlock,
            self._wlock,
            self._sem,
            self._opid,
        )

    def __setstate__(self, state):
        (
            self._ignore_epipe,
            self._maxsize,
            self._reader,
            self._writer,
            self._rlock,
            self._wlock,
            self._sem,
            self._opid,
        ) = state
        self._reset()

    def put(self, obj, block=True, timeout=None):
        """Put an object; ``queue.Full`` if there was no room in time."""
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if not self._sem.acquire(block, timeout):
            raise Full
        with self._notempty:
            if self._thread is None:
                self._start_thread()
            self._buffer.append(obj)
            self._notempty.notify()

    def get(self, block=True, timeout=None):
        """Take the oldest object; ``queue.Empty`` if there was none in time."""
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if block and timeout is None:
            with self._rlock:
                data = self._recv_bytes()
            self._sem.release()
        else:
            end = time.monotonic() + (timeout or 0) if block else None
            if not self._rlock.acquire(block, timeout):
                raise Empty
            try:
                left = max(0.0, end - time.monotonic()) if block else 0.0
                if not self._poll(left):
                    raise Empty
                data = self._recv_bytes()
                self._sem.release()
            finally:
                self._rlock.release()
        return context.reduction.ForkingPickler.loads(data)

    def put_nowait(self, obj):
        """Put an object, or raise ``queue.Full``."""
        return self.put(obj, False)

    def get_nowait(self):
        """Take the oldest object, or raise ``queue.Empty``."""
        return self.get(False)

    def qsize(self):
        """Objects put and not got, at this moment."""
        return self._maxsize - self._sem.get_value()

    def empty(self):
        """Whether nothing is there, at this moment."""
        return not self._poll()

    def full(self):
        """Whether there is no room, at this moment."""
        return self._sem.get_value() == 0

    def close(self):
        """This process puts no more; what it has put is still sent."""
        self._closed = True
        close, self._close = self._close, None
        if close is not None:
            close()
        self._reader.close()

    def join_thread(self):
        """Wait until what was put is in the pipe. Only after ``close``."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")
        if self._jointhread is not None:
            self._jointhread()

    def cancel_join_thread(self):
        """Do not wait at this process's end: what is not in the pipe by then is lost."""
        self._joincancelled = True
        if self._jointhread is not None:
            self._jointhread.cancel()

    def _terminate_broken(self):
        self._reader.close()
        self._writer.close()
        self.close()
        self.join_thread()

    def _start_thread(self):
        self._buffer.clear()
        self._thread = threading.Thread(
            target=self._feed,
            args=(
                self._buffer,
                self._notempty,
                self._send_bytes,
                self._wlock,
                self._reader.close,
                self._writer.close,
                self._ignore_epipe,
                self._on_queue_feeder_error,
                self._sem,
            ),
            name="QueueFeederThread",
            daemon=True,
        )
        self._thread.start()
        if not self._joincancelled:
            self._jointhread = util.Finalize(
                self._thread, self._finalize_join, [weakref.ref(self._thread)], exitpriority=-5
            )
        self._close = util.Finalize(
            self, self._finalize_close, [self._buffer, self._notempty], exitpriority=10
        )

    @staticmethod
    def _finalize_join(ref):
        thread = ref()
        if thread is not None:
            thread.join()

    @staticmethod
    def _finalize_close(buffer, notempty):
        with notempty:
            buffer.append(_sentinel)
            notempty.notify()

    @staticmethod
    def _feed(
        buffer,
        notempty,
        send_bytes,
        writelock,
        reader_close,
        writer_close,
        ignore_epipe,
        onerror,
        queue_sem,
    ):
        while True:
            with notempty:
                while not buffer:
                    notempty.wait()
                obj = buffer.popleft()
            if obj is _sentinel:
                reader_close()
                writer_close()
                return
            try:
                data = context.reduction.ForkingPickler.dumps(obj)
                with writelock:
                    send_bytes(data)
            except Exception as error:
                if ignore_epipe and getattr(error, "errno", 0) == 32:
                    return
                if util.is_exiting():
                    util.info("error in queue thread: %s", error)
                    return
                queue_sem.release()
                onerror(error, obj)


class _FeedingJoinable(_Feeding):
    """The same, of a ``JoinableQueue``."""

    def _make_pipe(self, ctx):
        super()._make_pipe(ctx)
        self._unfinished_tasks = ctx.Semaphore(0)
        self._cond = ctx.Condition()

    def __getstate__(self):
        return super().__getstate__(), self._cond, self._unfinished_tasks

    def __setstate__(self, state):
        inner, self._cond, self._unfinished_tasks = state
        super().__setstate__(inner)

    def put(self, obj, block=True, timeout=None):
        """Put an object; ``queue.Full`` if there was no room in time."""
        with self._cond:
            super().put(obj, block, timeout)
            self._unfinished_tasks.release()

    def task_done(self):
        """One object that was got is dealt with; ``ValueError`` if there is none."""
        with self._cond:
            if not self._unfinished_tasks.acquire(False):
                raise ValueError("task_done() called too many times")
            if self._unfinished_tasks.get_value() == 0:
                self._cond.notify_all()

    def join(self):
        """Wait until all objects ever put are dealt with."""
        with self._cond:
            while self._unfinished_tasks.get_value() != 0:
                self._cond.wait()


# --- over the library's queue -----------------------------------------------------------------


def _put_on_pipes(cls, names):
    """If ``cls`` overrides one of ``names``, make it a subclass of its queue's piped sibling."""
    if cls._piped or not any(name in cls.__dict__ for name in names):
        return
    plain = next(base for base in cls.__mro__[1:] if base in _siblings)
    piped = _siblings[plain]
    if plain in cls.__bases__:
        cls.__bases__ = tuple(piped if base is plain else base for base in cls.__bases__)
    else:
        cls.__bases__ += (piped,)


class Queue(_core.Queue):
    """Objects from any process to any other, first in, first out; ``maxsize`` 0: no limit."""

    _piped = False
    _joinable = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _put_on_pipes(cls, ("_feed", "_start_thread"))

    def __init__(self, maxsize=0, *, ctx):
        self._maxsize = maxsize if maxsize > 0 else synchronize.SEM_VALUE_MAX
        self._is_fork_ctx = _fork_context(ctx)
        self._opid = os.getpid()
        if self._piped:
            self._make_pipe(ctx)
        else:
            super().__init__(min(maxsize, synchronize.SEM_VALUE_MAX), self._joinable)
            self._reader, self._writer = _Reader(self), _Writer(self)

    def __getstate__(self):
        ref = synchronize._share(self, self, self._is_fork_ctx)
        return ref, self._maxsize, self._opid

    def __setstate__(self, state):
        ref, self._maxsize, self._opid = state
        self._is_fork_ctx = False
        self._attach(ref)
        self._reader, self._writer = _Reader(self), _Writer(self)

    def empty(self):
        """Whether nothing is there, at this moment."""
        # As with the standard library, closing what nobody has used changes nothing here.
        if self._closed and self._is_used():
            raise OSError(f"Queue {self!r} is closed")
        return self.qsize() == 0

    def full(self):
        """Whether there is no room, at this moment."""
        return self.qsize() >= self._maxsize

    def close(self):
        """This process puts and gets no more."""
        super().close()
        self._reader.close()
        self._writer.close()

    def join_thread(self):
        """Return at once: what was put is in the queue. Only after ``close``."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self):
        """Do nothing: there is no thread, and nothing that could be lost."""

    def _terminate_broken(self):
        """A process that used it is broken: close it."""
        self.close()

    @staticmethod
    def _on_queue_feeder_error(e, obj):
        """What to do about an object that could not be pickled; may be overridden."""
        import traceback

        lines = traceback.format_exception(type(e), e, e.__traceback__)
        if e.__traceback__ is None:  # raised in C: what helps is where put was called
            stack = traceback.format_stack(sys._getframe(1))
            lines[-1:-1] = ["Traceback (most recent call last):\n", *stack]
        print("".join(lines), end="", file=sys.stderr)

    __class_getitem__ = classmethod(types.GenericAlias)


class JoinableQueue(Queue):
    """A queue that can be waited for until each of its objects is declared done.

    What a process got and had not yet declared done counts as done when it is killed.
    """

    _joinable = True

    def task_done(self):
        """One object that was got is dealt with; ``ValueError`` if there is none."""
        self._task_done()

    def join(self):
        """Wait until all objects ever put are dealt with."""
        self._join()


class SimpleQueue(_core.Queue):
    """A queue with put, get, empty and close."""

    _piped = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _put_on_pipes(cls, ("__getstate__", "__setstate__", "put", "get", "_make_methods"))

    def __init__(self, *, ctx):
        self._is_fork_ctx = _fork_context(ctx)
        if self._piped:
            self._make_pipe(ctx)
        else:
            super().__init__()
            self._reader, self._writer = _Reader(self), _Writer(self)
            self._poll_reader = self._reader.poll

    def __getstate__(self):
        return synchronize._share(self, self, self._is_fork_ctx)

    def __setstate__(self, ref):
        self._is_fork_ctx = False
        self._attach(ref)
        self._reader, self._writer = _Reader(self), _Writer(self)

    put = _core.Queue._put_object
    get = _core.Queue._get_object

    def empty(self):
        """Whether nothing is there, at this moment."""
        return not self._reader.poll()

    def close(self):
        """This process uses it no more."""
        self._reader.close()
        self._writer.close()

    @staticmethod
    def _on_queue_feeder_error(e, obj):
        raise e

    __class_getitem__ = classmethod(types.GenericAlias)


class _PipedQueue(_Feeding, Queue):
    _piped = True


class _PipedJoinableQueue(_FeedingJoinable, JoinableQueue):
    _piped = True


class _PipedSimpleQueue(_Piping, SimpleQueue):
    _piped = True


_siblings = {
    Queue: _PipedQueue,
    JoinableQueue: _PipedJoinableQueue,
    SimpleQueue: _PipedSimpleQueue,
}
