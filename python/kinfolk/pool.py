"""Pools of worker processes: the class surface over the engine in ``kinfolk._core``."""

import atexit
import itertools
import os
import pickle
import signal
import traceback
import weakref

from kinfolk import _core, process, util

__all__ = ["MaybeEncodingError", "Pool", "RemoteTraceback"]

# How the worker calls the function: enum call_style in _core/task.h.
_CALL_ITEM, _CALL_STAR, _CALL_APPLY = range(3)

_pools = weakref.WeakSet()


class RemoteTraceback(Exception):
    """The traceback of a worker's exception, as text: the ``__cause__`` of what is raised here."""

    def __init__(self, text):
        self.tb = text

    def __str__(self):
        return self.tb


class MaybeEncodingError(Exception):
    """A result or an exception could not be pickled in the worker."""

    def __init__(self, exc, value):
        self.exc = repr(exc)
        self.value = repr(value)
        super().__init__(self.exc, self.value)

    def __str__(self):
        return f"Error sending result: '{self.value}'. Reason: '{self.exc}'"


class Pool:
    """``processes`` workers (default ``cpu_count()``) that run functions on items.

    A worker that dies fails only the item it was running, with ``WorkerLostError``; it is replaced
    and everything else completes. ``initializer(*initargs)`` runs in each worker first;
    ``maxtasksperchild`` replaces a worker after that many items.
    """

    def __init__(
        self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None
    ):
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
        if process.current_process().daemon:
            raise ValueError("daemonic processes are not allowed to have children")
        util._flush_std_streams()
        self._pid = os.getpid()
        start = (initializer, tuple(initargs), process.current_process().name, self._pid)
        self._core = _core.Pool(processes, start, maxtasksperchild or 0, "ForkPoolWorker")
        _pools.add(self)

    def map(self, func, iterable, chunksize=None):
        """``[func(x) for x in iterable]``, computed by the workers.

        ``chunksize`` is accepted for compatibility; items are sent singly and in bulk wake-ups.
        """
        return self._core.map(_CALL_ITEM, func, list(iterable))

    def starmap(self, func, iterable, chunksize=None):
        """``[func(*x) for x in iterable]``, computed by the workers."""
        return self._core.map(_CALL_STAR, func, list(iterable))

    def apply(self, func, args=(), kwds={}):
        """``func(*args, **kwds)``, computed by one worker."""
        return self._core.map(_CALL_APPLY, func, [(tuple(args), dict(kwds))])[0]

    def close(self):
        """No more work; the workers end when what was accepted is done."""
        self._core.close()

    def terminate(self):
        """End the workers at once, whatever they are doing."""
        self._core.terminate()

    def join(self):
        """Wait until the workers have ended; ``close`` or ``terminate`` comes first."""
        self._core.join(None)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.terminate()

    def __reduce__(self):
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")


def _terminate_all():
    for pool in list(_pools):
        if pool._pid == os.getpid():
            pool.terminate()
            pool.join()


atexit.register(_terminate_all)


# --- called by _core -----------------------------------------------------------------------


class _Worker(process.BaseProcess):
    """The current process inside a worker."""

    def __init__(self, name, parent_name, parent_pid):
        self._identity = (int(name.rpartition("-")[2]),)
        self._config = process.current_process()._config.copy()
        self._parent_pid = parent_pid
        self._parent_name = parent_name
        self._popen = None
        self._closed = False
        self._name = name
        self._config["daemon"] = True


def _begin_worker(name, start):
    """First thing in a worker: become it, run the initializer."""
    initializer, initargs, parent_name, parent_pid = start
    # Ctrl-C is the parent's to handle: it terminates the pool, or does not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process._process_counter = itertools.count(1)
    process._children = set()
    process._become(_Worker(name, parent_name, parent_pid))
    util._finalizer_registry.clear()
    util._run_after_forkers()
    process.current_process().__dict__.pop("_forgotten", None)
    _pools.clear()
    if initializer is not None:
        initializer(*initargs)


def _end_worker():
    """Last thing in a worker that ends in an orderly way."""
    util._exit_function()
    util._flush_std_streams()


def _exit_worker(error):
    """A task raised SystemExit: the worker ends with that code."""
    code = process._exit_code(error)
    _end_worker()
    return code


def _encode_error(error):
    """The pickle of an exception and its traceback; of a stand-in if it cannot travel."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error.__traceback__ = None
    try:
        encoded = pickle.dumps((error, text))
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
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error
