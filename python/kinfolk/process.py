"""Processes as Python sees them: the class surface over ``kinfolk._core.Process``."""

import atexit
import itertools
import os
import signal
import sys
import threading
import traceback

from kinfolk import _core

__all__ = ["Process", "active_children", "current_process", "parent_process"]

_children = set()


class Process:
    """A child process that runs ``target(*args, **kwargs)``, or an overridden ``run``.

    ``name`` defaults to ``Process-N`` (``Process-N:M`` in children), ``daemon`` to the creator's
    own. Source of the semantics: the documentation of Python's ``multiprocessing.Process``.
    """

    def __init__(self, group=None, target=None, name=None, args=(), kwargs={}, *, daemon=None):
        if group is not None:
            raise ValueError("group must be None: process groups are not implemented")
        creator = _current
        self._identity = creator._identity + (next(creator._counter),)
        self._counter = itertools.count(1)
        self._parent_pid = os.getpid()
        self._parent_name = creator.name
        self._handle = None
        self._closed = False
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs)
        self._name = name or f"{type(self).__name__}-" + ":".join(map(str, self._identity))
        self._daemon = creator.daemon if daemon is None else bool(daemon)

    def run(self):
        """Call the target; subclasses may override this."""
        if self._target:
            self._target(*self._args, **self._kwargs)

    def start(self):
        """Fork the child, which calls ``run``. Once only."""
        self._check_open()
        if self._handle is not None:
            raise ValueError("cannot start a process twice")
        if self._parent_pid != os.getpid():
            raise ValueError("can only start a process object created by the current process")
        if _current.daemon:
            raise ValueError("daemonic processes are not allowed to have children")
        active_children()  # forgets the ended ones
        _flush_streams()
        handle = _core.Process.fork(self._name, self._daemon)
        if handle is None:
            _run_child(self)
        self._handle = handle
        # What the child needs is in the child: let go of the arguments here.
        del self._target, self._args, self._kwargs
        _children.add(self)

    def join(self, timeout=None):
        """Wait until the child has ended, at most ``timeout`` seconds (None: for ever)."""
        if self._started().join(timeout):
            _children.discard(self)

    def is_alive(self):
        """Whether the child runs."""
        self._check_open()
        if self is _current:
            return True
        self._check_parent()
        return self._handle is not None and self._handle.exitcode() is None

    @property
    def exitcode(self):
        """None while it runs (or before start), else the code, or minus the signal's number."""
        self._check_open()
        if self is _current or self._handle is None:
            return None
        return self._handle.exitcode()

    def terminate(self):
        """Send SIGTERM."""
        self._started().signal(signal.SIGTERM)

    def kill(self):
        """Send SIGKILL."""
        self._started().signal(signal.SIGKILL)

    def interrupt(self):
        """Send SIGINT."""
        self._started().signal(signal.SIGINT)

    def close(self):
        """Give the handle back; ``ValueError`` if the child still runs."""
        if self._handle is not None:
            if self._handle.exitcode() is None:
                raise ValueError(
                    "Cannot close a process while it is still running. "
                    "You should first call join() or terminate()."
                )
            self._handle.close()
            self._handle = None
            _children.discard(self)
        self._closed = True

    @property
    def name(self):
        """The process's name, a string for people; need not be unique."""
        return self._name

    @name.setter
    def name(self, name):
        if not isinstance(name, str):
            raise TypeError("name must be a string")
        self._name = name

    @property
    def daemon(self):
        """Whether the child is terminated when its creator exits."""
        return self._daemon

    @daemon.setter
    def daemon(self, daemon):
        if self._handle is not None:
            raise ValueError("daemon must be set before start()")
        self._daemon = bool(daemon)

    @property
    def ident(self):
        """The process id, or None before ``start``."""
        self._check_open()
        if self is _current:
            return os.getpid()
        return None if self._handle is None else self._handle.pid

    pid = ident

    @property
    def sentinel(self):
        """A descriptor that becomes readable when the child has ended."""
        return self._started().sentinel

    def _check_open(self):
        if self._closed:
            raise ValueError("process object is closed")

    def _check_parent(self):
        if self._parent_pid != os.getpid():
            raise ValueError("can only be used by the process that created it")

    def _started(self):
        self._check_open()
        self._check_parent()
        if self._handle is None:
            raise ValueError("the process has not been started")
        return self._handle

    def __repr__(self):
        if self._closed:
            state = "closed"
        elif self is _current:
            state = "started"
        elif self._parent_pid != os.getpid():
            state = "unknown"
        elif self._handle is None:
            state = "initial"
        else:
            code = self._handle.exitcode()
            state = "started" if code is None else f"stopped exitcode={code}"
        daemon = " daemon" if self._daemon else ""
        return f"<{type(self).__name__} name={self._name!r} parent={self._parent_pid} {state}{daemon}>"


class _MainProcess(Process):
    """The process that nobody of the family started."""

    def __init__(self):
        self._identity = ()
        self._counter = itertools.count(1)
        self._parent_pid = None
        self._handle = None
        self._closed = False
        self._name = "MainProcess"
        self._daemon = False

    def close(self):
        """The main process cannot be closed."""


class _ParentProcess:
    """What a child knows of the process that started it."""

    def __init__(self, name, pid):
        self.name = name
        self.pid = self.ident = pid

    def is_alive(self):
        """Whether it still runs: a child whose parent ends is adopted by another process."""
        return os.getppid() == self.pid

    def __repr__(self):
        return f"<_ParentProcess name={self.name!r} pid={self.pid}>"


_current = _MainProcess()
_parent = None


def current_process():
    """The object of the process that calls."""
    return _current


def parent_process():
    """The process that started this one, or None in the main process."""
    return _parent


def active_children():
    """The live children of this process, as a list; joins those that have ended."""
    for child in list(_children):
        if child._closed or child._handle is None or child._handle.exitcode() is not None:
            _children.discard(child)
    return list(_children)


def _flush_streams():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass


def _write_whole_lines():
    """Make an unbuffered output stream hand on lines in one piece: processes share the file."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "write_through", False):
            stream.reconfigure(line_buffering=True, write_through=False)


def _become(process, parent_name, parent_pid):
    """Make ``process`` the current one: called first thing in a child."""
    global _current, _parent
    _children.clear()
    _parent = _ParentProcess(parent_name, parent_pid)
    _current = process
    _write_whole_lines()


def _exit_code(error):
    """The exit code that a SystemExit asks for, as the interpreter would report it."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


def _run_child(process):
    """The whole life of a forked child; does not return."""
    code = 1
    try:
        _become(process, process._parent_name, process._parent_pid)
        process._counter = itertools.count(1)
        try:
            process.run()
            code = 0
        except SystemExit as error:
            code = _exit_code(error)
        except BaseException:
            print(f"Process {process.name}:", file=sys.stderr)
            traceback.print_exc()
        _end_children()
        threading._shutdown()
    finally:
        _flush_streams()
        _core.leave()
        os._exit(code & 0xFF)


def _end_children():
    """At the end of a process: daemonic children are terminated, all are waited for."""
    for child in active_children():
        if child.daemon:
            child.terminate()
    for child in active_children():
        child.join()


atexit.register(_end_children)
