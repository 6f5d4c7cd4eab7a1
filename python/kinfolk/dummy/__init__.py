"""The interface of processes, with threads: ``Process``, queues, locks, ``Pool`` and the rest."""

import array
import sys
import threading
import weakref
from queue import Queue
from threading import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    RLock,
    Semaphore,
)

from kinfolk.dummy.connection import Pipe

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "active_children",
    "current_process",
    "freeze_support",
]

JoinableQueue = Queue
current_process = threading.current_thread


class DummyProcess(threading.Thread):
    """A thread with a process's names."""

    def __init__(self, group=None, target=None, name=None, args=(), kwargs={}):
        super().__init__(group, target, name, args, kwargs)
        self._pid = None
        self._children = weakref.WeakKeyDictionary()
        self._start_called = False
        self._parent = current_process()

    def start(self):
        """Start the thread; only the thread that made it may."""
        if self._parent is not current_process():
            raise RuntimeError(
                f"Parent is {self._parent!r} but current_process is {current_process()!r}"
            )
        self._start_called = True
        if hasattr(self._parent, "_children"):
            self._parent._children[self] = None
        super().start()

    @property
    def exitcode(self):
        """0 once it has ended, else None."""
        return 0 if self._start_called and not self.is_alive() else None


Process = DummyProcess

current_process()._children = weakref.WeakKeyDictionary()


def active_children():
    """The threads that this one has started and that run, as a list."""
    children = current_process()._children
    for child in list(children):
        if not child.is_alive():
            children.pop(child, None)
    return list(children)


def freeze_support():
    """Do nothing."""


class Namespace:
    """An object with attributes."""

    def __init__(self, /, **kwds):
        self.__dict__.update(kwds)

    def __repr__(self):
        shown = sorted(f"{k}={v!r}" for k, v in self.__dict__.items() if not k.startswith("_"))
        return f"{type(self).__name__}({', '.join(shown)})"


dict = dict
list = list


def Array(typecode, sequence, lock=True):
    """An ``array.array``."""
    return array.array(typecode, sequence)


class Value:
    """An object with a ``value``."""

    def __init__(self, typecode, value, lock=True):
        self._typecode = typecode
        self._value = value

    @property
    def value(self):
        """The value."""
        return self._value

    @value.setter
    def value(self, value):
        self._value = value

    def __repr__(self):
        return f"<{type(self).__name__}({self._typecode!r}, {self._value!r})>"


def Manager():
    """This module, which has what a manager has."""
    return sys.modules[__name__]


def shutdown():
    """Do nothing."""


def Pool(processes=None, initializer=None, initargs=()):
    """A pool of threads."""
    from kinfolk.pool import ThreadPool

    return ThreadPool(processes, initializer, initargs)
