"""Start methods, and the contexts that hand everything out under one of them."""

import sys
import threading

from kinfolk import _core, process, reduction
from kinfolk._core import (  # noqa: F401
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,
    WorkerInitError,
    WorkerLostError,
)

__all__ = []


class BaseContext:
    """Everything of the package, made for one start method."""

    ProcessError = ProcessError
    BufferTooShort = BufferTooShort
    TimeoutError = TimeoutError
    AuthenticationError = AuthenticationError

    current_process = staticmethod(process.current_process)
    parent_process = staticmethod(process.parent_process)
    active_children = staticmethod(process.active_children)

    def cpu_count(self):
        """CPUs that this process may use: affinity, cgroup quota and cpuset count."""
        return _core.cpu_count()

    # --- objects ---

    def Manager(self):
        """A started ``SyncManager``: its server process holds objects that others share."""
        from kinfolk.managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex=True):
        """Two connections that are joined; if not ``duplex``, (receiving, sending)."""
        from kinfolk.connection import Pipe

        return Pipe(duplex)

    def Lock(self):
        """A lock that processes share; not recursive."""
        from kinfolk.synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self):
        """A recursive lock that processes share."""
        from kinfolk.synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock=None):
        """A condition variable that processes share."""
        from kinfolk.synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value=1):
        """A semaphore that processes share."""
        from kinfolk.synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value=1):
        """A semaphore whose value never exceeds the initial one."""
        from kinfolk.synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self):
        """A flag that processes share and wait for."""
        from kinfolk.synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(self, parties, action=None, timeout=None):
        """A number of parties that wait for each other."""
        from kinfolk.synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize=0):
        """A first-in, first-out queue that processes share."""
        from kinfolk.queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize=0):
        """A queue that can be waited for until all its items are done."""
        from kinfolk.queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self):
        """A queue with put, get, empty and close."""
        from kinfolk.queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pool(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
        """A pool of worker processes."""
        from kinfolk.pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())

    def RawValue(self, typecode_or_type, *args):
        """A ctypes object in shared memory, without a lock."""
        from kinfolk.sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type, size_or_initializer):
        """A ctypes array in shared memory, without a lock."""
        from kinfolk.sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type, *args, lock=True):
        """A ctypes object in shared memory, with a lock."""
        from kinfolk.sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type, size_or_initializer, *, lock=True):
        """A ctypes array in shared memory, with a lock."""
        from kinfolk.sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    # --- the machinery ---

    def freeze_support(self):
        """In a frozen executable that was started as a child: be that child."""
        if getattr(sys, "frozen", False):
            from kinfolk.spawn import freeze_support

            freeze_support()

    def get_logger(self):
        """The logger that Kinfolk writes to."""
        from kinfolk.util import get_logger

        return get_logger()

    def log_to_stderr(self, level=None):
        """Turn on logging, to stderr."""
        from kinfolk.util import log_to_stderr

        return log_to_stderr(level)

    def allow_connection_pickling(self):
        """Import what makes connections and sockets picklable."""
        from kinfolk import connection  # noqa: F401

    def set_executable(self, executable):
        """The interpreter that spawn and forkserver execute, instead of ``sys.executable``."""
        from kinfolk.spawn import set_executable

        set_executable(executable)

    def set_forkserver_preload(self, module_names):
        """The modules that the fork server imports when it starts."""
        from kinfolk.forkserver import set_forkserver_preload

        set_forkserver_preload(module_names)

    def get_context(self, method=None):
        """The context of that start method; without one, this context."""
        if method is None:
            return self
        try:
            context = _concrete_contexts[method]
        except KeyError:
            raise ValueError(
                f"cannot find context for {method!r}: the start methods are "
                f"{', '.join(_concrete_contexts)}"
            ) from None
        context._check_available()
        return context

    def get_start_method(self, allow_none=False):
        """The name of this context's start method."""
        return self._name

    def set_start_method(self, method, force=False):
        """Only the default context's can be set."""
        raise ValueError("cannot set start method of concrete context")

    @property
    def reducer(self):
        """The module that says how objects are pickled."""
        return globals().get("reduction")

    @reducer.setter
    def reducer(self, reduction):
        globals()["reduction"] = reduction

    def _check_available(self):
        pass


class Process(process.BaseProcess):
    """A child that is started by the default context's method."""

    _start_method = None

    @staticmethod
    def _Popen(process_obj):
        return _default_context.get_context().Process._Popen(process_obj)

    @staticmethod
    def _after_fork():
        return _default_context.get_context().Process._after_fork()


class DefaultContext(BaseContext):
    """The context that module-level functions use; its method can be set, once."""

    Process = Process

    def __init__(self, context):
        self._default_context = context
        self._actual_context = None

    def get_context(self, method=None):
        """The context of that start method; without one, the current default."""
        if method is not None:
            return super().get_context(method)
        if self._actual_context is None:
            self._actual_context = self._default_context
        return self._actual_context

    def set_start_method(self, method, force=False):
        """Choose the start method: once, unless ``force``. None (with force): not chosen."""
        if self._actual_context is not None and not force:
            raise RuntimeError("context has already been set")
        if method is None and force:
            self._actual_context = None
        else:
            self._actual_context = self.get_context(method)

    def get_start_method(self, allow_none=False):
        """The start method, which is thereby chosen unless ``allow_none``."""
        if self._actual_context is None:
            if allow_none:
                return None
            self._actual_context = self._default_context
        return self._actual_context._name

    def get_all_start_methods(self):
        """The names of all start methods, the default first."""
        default = self._default_context._name
        return [default] + [name for name in _all_methods if name != default]


class ForkProcess(process.BaseProcess):
    """A child that is a fork of this process."""

    _start_method = "fork"

    @staticmethod
    def _Popen(process_obj):
        from kinfolk.popen_fork import Popen

        return Popen(process_obj)


class SpawnProcess(process.BaseProcess):
    """A child in a fresh interpreter."""

    _start_method = "spawn"

    @staticmethod
    def _Popen(process_obj):
        from kinfolk.popen_spawn_posix import Popen

        return Popen(process_obj)

    @staticmethod
    def _after_fork():
        pass


class ForkServerProcess(process.BaseProcess):
    """A child that is a fork of a small server."""

    _start_method = "forkserver"

    @staticmethod
    def _Popen(process_obj):
        from kinfolk.popen_forkserver import Popen

        return Popen(process_obj)


class ForkContext(BaseContext):
    """The start method fork."""

    _name = "fork"
    Process = ForkProcess


class SpawnContext(BaseContext):
    """The start method spawn."""

    _name = "spawn"
    Process = SpawnProcess


class ForkServerContext(BaseContext):
    """The start method forkserver."""

    _name = "forkserver"
    Process = ForkServerProcess

    def _check_available(self):
        if not reduction.HAVE_SEND_HANDLE:
            raise ValueError("forkserver start method not available")


_concrete_contexts = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
_all_methods = list(_concrete_contexts)
# The interpreter's own default: fork on Linux, forkserver from 3.14 on.
_default_context = DefaultContext(
    _concrete_contexts["forkserver" if sys.version_info >= (3, 14) else "fork"]
)


def _force_start_method(method):
    _default_context._actual_context = _concrete_contexts[method]


# --- what is being started ------------------------------------------------------------------

_spawning = threading.local()


def get_spawning_popen():
    """The handle of the child that this thread is pickling an object for, or None."""
    return getattr(_spawning, "popen", None)


def set_spawning_popen(popen):
    """From now on this thread pickles for that child; None: for none."""
    _spawning.popen = popen


def assert_spawning(obj):
    """Raise ``RuntimeError`` unless this thread pickles for a child that is being started."""
    if get_spawning_popen() is None:
        raise RuntimeError(
            f"{type(obj).__name__} objects should only be shared between processes "
            "through inheritance"
        )
