"""Locks and their kin, in shared memory: the class surface over ``_core``.

When a process is killed while it holds a lock, the next one gets it; units of a semaphore that it
held come back; a barrier it took part in breaks (docs/design/lock.md, docs/design/monitor.md).
"""

import os
import sys
import threading

from kinfolk import _core, context, process, util

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
]

RECURSIVE_MUTEX, SEMAPHORE = range(2)
SEM_VALUE_MAX = 2**31 - 1

# Where the C library keeps named semaphores.
_NAMED = "/dev/shm/sem."


class _Token(_core.SemLock):
    """A semaphore that has a name only if somebody asks for it."""

    _name = None

    @property
    def name(self):
        """A name of its own, which a file and the resource tracker know from the first look on."""
        if self._name is None:
            from kinfolk import resource_tracker

            while True:
                name = SemLock._make_name()
                try:
                    fd = os.open(_NAMED + name[1:], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                    break
                except FileExistsError:
                    continue
            os.close(fd)
            self._name = name
            resource_tracker.register(name, "semaphore")
            util.Finalize(self, SemLock._cleanup, (name,), exitpriority=0)
        return self._name


def _share(obj, wrapped, is_fork_ctx=False):
    """The reference to what ``wrapped`` stands for, for a child that is being started."""
    context.assert_spawning(obj)
    popen = context.get_spawning_popen()
    if is_fork_ctx and popen.method != "fork":
        raise RuntimeError(
            "A SemLock created in a fork context is being shared with a process in a "
            f"{popen.method} context. This is not supported. Please use the same context to "
            "create multiprocessing objects and Process."
        )
    keep = getattr(popen, "keep_for_child", None)
    if keep is not None:
        keep(wrapped)
    return wrapped._ref()


def _revive_tracker():
    """If there is a resource tracker, start another one should it have died."""
    tracker = sys.modules.get("kinfolk.resource_tracker")
    if tracker is not None and tracker._resource_tracker._fd is not None:
        tracker.ensure_running()


class _RandomNames:
    """An iterator of names as ``tempfile`` chooses them; few programs need one."""

    def __iter__(self):
        return self

    def __next__(self):
        import tempfile

        return next(tempfile._get_candidate_names())


class SemLock:
    """What locks and semaphores have in common. ``_semlock``: the object of ``_core``."""

    _rand = _RandomNames()

    def __init__(self, kind, value, maxvalue, *, ctx=None):
        if ctx is None:
            ctx = context._default_context.get_context()
        self._is_fork_ctx = ctx.get_start_method() == "fork"
        if not self._is_fork_ctx:
            _revive_tracker()
        self._value = value
        self._own(_Token(kind, value, maxvalue))
        util.debug("created semlock with handle %s", self._semlock.handle)

    def _own(self, semlock):
        self._semlock = semlock
        self.acquire = semlock.acquire
        self.release = semlock.release
        util.register_after_fork(self, SemLock._after_fork)

    def _after_fork(self):
        self._semlock._after_fork()

    @staticmethod
    def _cleanup(name):
        from kinfolk import resource_tracker

        try:
            os.unlink(_NAMED + name[1:])
        except FileNotFoundError:
            pass
        resource_tracker.unregister(name, "semaphore")

    @staticmethod
    def _make_name():
        return f"{process.current_process()._config['semprefix']}-{next(SemLock._rand)}"

    def locked(self):
        """Whether an acquire would have to wait."""
        return self._semlock._is_zero()

    def __enter__(self):
        return self._semlock.__enter__()

    def __exit__(self, *exc_info):
        return self._semlock.__exit__(*exc_info)

    def __getstate__(self):
        ref = _share(self, self._semlock, self._is_fork_ctx)
        return ref, self._semlock.kind, self._value, self._semlock.maxvalue

    def __setstate__(self, state):
        self._is_fork_ctx = False
        self._value = state[2]
        self._own(_Token._attach(*state))

    def _owner(self):
        """Who holds it, as its repr has it."""
        if self._semlock._is_mine():
            name = process.current_process().name
            thread = threading.current_thread().name
            return name if thread == "MainThread" else f"{name}|{thread}"
        if not self._semlock._is_zero():
            return "None"
        return "SomeOtherThread" if self._semlock._count() > 0 else "SomeOtherProcess"


class Semaphore(SemLock):
    """A counter that ``acquire`` lowers, waiting while it is 0, and ``release`` raises."""

    def __init__(self, value=1, *, ctx=None):
        super().__init__(SEMAPHORE, value, SEM_VALUE_MAX, ctx=ctx)

    def get_value(self):
        """The counter."""
        return self._semlock._get_value()

    def _shown(self):
        try:
            return self._semlock._get_value()
        except Exception:
            return "unknown"

    def __repr__(self):
        return f"<{type(self).__name__}(value={self._shown()})>"


class BoundedSemaphore(Semaphore):
    """A semaphore whose value never exceeds the initial one: ``ValueError`` instead."""

    def __init__(self, value=1, *, ctx=None):
        SemLock.__init__(self, SEMAPHORE, value, value, ctx=ctx)

    def __repr__(self):
        return f"<{type(self).__name__}(value={self._shown()}, maxvalue={self._semlock.maxvalue})>"


class Lock(SemLock):
    """Held by one at a time; whoever likes may release it."""

    def __init__(self, *, ctx=None):
        super().__init__(SEMAPHORE, 1, 1, ctx=ctx)

    def __repr__(self):
        try:
            owner = self._owner()
        except Exception:
            owner = "unknown"
        return f"<{type(self).__name__}(owner={owner})>"


class RLock(SemLock):
    """Held by one thread at a time, which may acquire it again and releases it as often."""

    def __init__(self, *, ctx=None):
        super().__init__(RECURSIVE_MUTEX, 1, 1, ctx=ctx)

    def __repr__(self):
        try:
            owner = self._owner()
            count = (
                self._semlock._count()
                if self._semlock._is_mine()
                else 0
                if owner == "None"
                else "nonzero"
            )
        except Exception:
            owner = count = "unknown"
        return f"<{type(self).__name__}({owner}, {count})>"


class _Count:
    """Something with a ``get_value``, as programs look for it inside a condition."""

    def __init__(self, get_value):
        self.get_value = get_value


class Condition:
    """Waits under a lock (an ``RLock`` by default) until notified."""

    def __init__(self, lock=None, *, ctx):
        self._own(lock or ctx.RLock())

    def _own(self, lock, ref=None):
        self._lock = lock
        self._condition = (
            _core.Condition(lock._semlock)
            if ref is None
            else _core.Condition._attach(ref, lock._semlock)
        )
        self.acquire = lock.acquire
        self.release = lock.release
        # Those that wait and have not been notified; none is ever between the two.
        self._sleeping_count = _Count(self._condition.waiting)
        self._woken_count = self._wait_semaphore = _Count(lambda: 0)

    def __getstate__(self):
        ref = _share(self, self._condition)
        return self._lock, ref

    def __setstate__(self, state):
        self._own(*state)

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *exc_info):
        return self._lock.__exit__(*exc_info)

    def __repr__(self):
        try:
            waiting = self._condition.waiting()
        except Exception:
            waiting = "unknown"
        return f"<{type(self).__name__}({self._lock}, {waiting})>"

    def wait(self, timeout=None):
        """Release the lock, wait until notified, acquire it again: False if the time was up."""
        return self._condition.wait(timeout)

    def notify(self, n=1):
        """Wake ``n`` that wait, or as many as there are."""
        self._condition.notify(n)

    def notify_all(self):
        """Wake all that wait."""
        self._condition.notify_all()

    def wait_for(self, predicate, timeout=None):
        """Wait until ``predicate()`` is true; its last value."""
        return util._wait_for(self, predicate, timeout)


class Event:
    """A flag that any number wait for."""

    def __init__(self, *, ctx):
        self._event = _core.Event()

    def __getstate__(self):
        return _share(self, self._event)

    def __setstate__(self, ref):
        self._event = _core.Event._attach(ref)

    def is_set(self):
        """Whether it is set."""
        return self._event.is_set()

    def set(self):
        """Set it, and release all that wait."""
        self._event.set()

    def clear(self):
        """Clear it."""
        self._event.clear()

    def wait(self, timeout=None):
        """Wait until it is set: False if ``timeout`` seconds were up before."""
        return self._event.wait(timeout)

    def __repr__(self):
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"


class Barrier(threading.Barrier):
    """A number of parties that wait for each other, over and over.

    It breaks, and all get ``BrokenBarrierError``, when a party's time is up, its action fails, or a
    party's process is killed.
    """

    def __init__(self, parties, action=None, timeout=None, *, ctx=None):
        # Not the base's __init__: nothing of its state is used.
        self._barrier = _core.Barrier(parties)
        self._action = action
        self._timeout = timeout

    def __getstate__(self):
        return _share(self, self._barrier), self._action, self._timeout

    def __setstate__(self, state):
        ref, self._action, self._timeout = state
        self._barrier = _core.Barrier._attach(ref)

    def wait(self, timeout=None):
        """Wait for the others; returns this party's number, from 0 to parties - 1, each once."""
        index = self._barrier.wait(self._action, self._timeout if timeout is None else timeout)
        if index is None:
            raise threading.BrokenBarrierError
        return index

    def reset(self):
        """Make it whole and empty; those that wait get ``BrokenBarrierError``."""
        self._barrier.reset()

    def abort(self):
        """Break it until it is reset."""
        self._barrier.abort()

    @property
    def parties(self):
        """How many must come."""
        return self._barrier.parties

    @property
    def n_waiting(self):
        """How many wait."""
        return self._barrier.n_waiting

    @property
    def broken(self):
        """Whether it is broken."""
        return self._barrier.broken

    def __repr__(self):
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{type(self).__qualname__} at {id(self):#x}: {state}>"
