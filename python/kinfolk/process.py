"""Processes as Python sees them: identity, configuration, bootstrap. Handles are in ``_core``."""

import _signal  # without the enumerations of signal
import itertools
import os
import sys
import threading
from _weakrefset import WeakSet

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]

try:
    ORIGINAL_DIR = os.path.abspath(os.getcwd())
except OSError:
    ORIGINAL_DIR = None


def current_process():
    """The object of the process that calls."""
    return _current_process


def active_children():
    """The live children of this process, as a list; joins those that have ended."""
    _cleanup()
    return list(_children)


def parent_process():
    """The process that started this one, or None in the main process."""
    return _parent_process


def _cleanup():
    for child in list(_children):
        popen = child._popen
        if popen is not None and popen.poll() is not None:
            _children.discard(child)


class AuthenticationString(bytes):
    """A key that is pickled only for children that are being started."""

    def __reduce__(self):
        from kinfolk.context import get_spawning_popen

        if get_spawning_popen() is None:
            raise TypeError(
                "Pickling an AuthenticationString object is disallowed for security reasons"
            )
        return AuthenticationString, (bytes(self),)


class BaseProcess:
    """A child process that runs ``target(*args, **kwargs)``, or an overridden ``run``.

    ``name`` defaults to ``Process-N`` (``Process-N:M`` in children), ``daemon`` to the creator's
    own. ``group`` must be None. Source of the semantics: the documentation of Python's
    ``multiprocessing.Process``.
    """

    _start_method = None

    @staticmethod
    def _Popen(process_obj):
        raise NotImplementedError("a context's Process says how it is started")

    def __init__(self, group=None, target=None, name=None, args=(), kwargs={}, *, daemon=None):
        if group is not None:
            raise AssertionError("group argument must be None for now")
        creator = _current_process
        self._identity = creator._identity + (next(_process_counter),)
        self._config = creator._config.copy()
        self._parent_pid = os.getpid()
        self._parent_name = creator.name
        self._popen = None
        self._closed = False
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs)
        self._name = name or f"{type(self).__name__}-" + ":".join(map(str, self._identity))
        if daemon is not None:
            self.daemon = daemon
        _dangling.add(self)

    def run(self):
        """Call the target; subclasses may override this."""
        if self._target:
            self._target(*self._args, **self._kwargs)

    def start(self):
        """Start the child, which calls ``run``. Once only."""
        self._check_closed()
        if self._popen is not None:
            raise AssertionError("cannot start a process twice")
        if self._parent_pid != os.getpid():
            raise AssertionError("can only start a process object created by current process")
        if _current_process._config.get("daemon"):
            raise AssertionError("daemonic processes are not allowed to have children")
        _cleanup()
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel
        # The child has what it needs; here it would only keep the arguments alive.
        del self._target, self._args, self._kwargs
        _children.add(self)

    def _popen_of(self, verb):
        """The handle; an error where there is none, or where it is another process's."""
        self._check_closed()
        if self._parent_pid != os.getpid():
            raise AssertionError(f"can only {verb} a child process")
        if self._popen is None:
            raise AssertionError(f"can only {verb} a started process")
        return self._popen

    def _signal(self, verb):
        self._check_closed()
        if self._popen is None:
            raise AttributeError(f"cannot {verb} a process that has not been started")
        getattr(self._popen, verb)()

    def interrupt(self):
        """Send SIGINT."""
        self._signal("interrupt")

    def terminate(self):
        """Send SIGTERM."""
        self._signal("terminate")

    def kill(self):
        """Send SIGKILL."""
        self._signal("kill")

    def join(self, timeout=None):
        """Wait until the child has ended, at most ``timeout`` seconds (None: for ever)."""
        if self._popen_of("join").wait(timeout) is not None:
            _children.discard(self)

    def is_alive(self):
        """Whether the child runs."""
        self._check_closed()
        if self is _current_process:
            return True
        if self._parent_pid != os.getpid():
            raise AssertionError("can only test a child process")
        if self._popen is None:
            return False
        if self._popen.poll() is None:
            return True
        _children.discard(self)
        return False

    def close(self):
        """Give the handle back; ``ValueError`` if the child still runs."""
        if self._popen is not None:
            if self._popen.poll() is None:
                raise ValueError(
                    "Cannot close a process while it is still running. "
                    "You should first call join() or terminate()."
                )
            self._popen.close()
            self._popen = None
            del self._sentinel
            _children.discard(self)
        self._closed = True

    @property
    def name(self):
        """The process's name, a string for people; need not be unique."""
        return self._name

    @name.setter
    def name(self, name):
        if not isinstance(name, str):
            raise AssertionError("name must be a string")
        self._name = name

    @property
    def daemon(self):
        """Whether the child is terminated when its creator exits."""
        return self._config.get("daemon", False)

    @daemon.setter
    def daemon(self, daemonic):
        if self._popen is not None:
            raise AssertionError("process has already started")
        self._config["daemon"] = daemonic

    @property
    def authkey(self):
        """The key, bytes, with which this process and its relatives know each other."""
        return self._config["authkey"]

    @authkey.setter
    def authkey(self, authkey):
        self._config["authkey"] = AuthenticationString(authkey)

    @property
    def exitcode(self):
        """None while it runs (or before start), else the code, or minus the signal's number."""
        self._check_closed()
        if self is _current_process or self._popen is None:
            return None
        return self._popen.poll()

    @property
    def ident(self):
        """The process id, or None before ``start``."""
        self._check_closed()
        if self is _current_process:
            return os.getpid()
        return self._popen and self._popen.pid

    pid = ident

    @property
    def sentinel(self):
        """A descriptor that becomes readable when the child has ended."""
        self._check_closed()
        try:
            return self._sentinel
        except AttributeError:
            raise ValueError("process not started") from None

    def _check_closed(self):
        if self._closed:
            raise ValueError("process object is closed")

    def __repr__(self):
        code = None
        if self is _current_process:
            state = "started"
        elif self._closed:
            state = "closed"
        elif self._parent_pid != os.getpid():
            state = "unknown"
        elif self._popen is None:
            state = "initial"
        else:
            code = self._popen.poll()
            state = "started" if code is None else "stopped"
        words = [type(self).__name__, f"name={self._name!r}"]
        if self._popen is not None:
            words.append(f"pid={self._popen.pid}")
        words += [f"parent={self._parent_pid}", state]
        if code is not None:
            words.append(f"exitcode={_exit_names.get(code, code)}")
        if self.daemon:
            words.append("daemon")
        return f"<{' '.join(words)}>"

    def _bootstrap(self, parent_sentinel=None):
        """The whole life of a child, from its start to its exit code.

        ``parent_sentinel`` is accepted for compatibility: the library knows the parent.
        """
        from kinfolk import context, util

        global _children, _process_counter
        try:
            if self._start_method is not None:
                context._force_start_method(self._start_method)
            _process_counter = itertools.count(1)
            _children = set()
            util._close_stdin()
            _become(self)
            try:
                util._finalizer_registry.clear()
                util._run_after_forkers()
            finally:
                # The last reference to what was replaced: its end is the child's business now.
                forgotten = self.__dict__.pop("_forgotten", None)
                del forgotten
            util.info("child process calling self.run()")
            try:
                self.run()
                code = 0
            finally:
                util._exit_function()
        except SystemExit as error:
            code = _exit_code(error)
        except BaseException:
            code = 1
            import traceback

            sys.stderr.write(f"Process {self.name}:\n")
            traceback.print_exc()
        finally:
            threading._shutdown()
            util.info("process %s exiting with exitcode %s", self.pid, code)
            util._flush_std_streams()
        return code


class _ParentProcess(BaseProcess):
    """What a child knows of the process that started it."""

    def __init__(self, name, pid, sentinel=None):
        self._identity = ()
        self._name = name
        self._pid = pid
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {}
        if sentinel is not None:
            self._sentinel = sentinel

    def _ended(self, timeout):
        from kinfolk import _core

        return _core.wait_for_parent(timeout)

    def is_alive(self):
        """Whether it still runs."""
        return not self._ended(0)

    @property
    def ident(self):
        """Its process id."""
        return self._pid

    pid = ident

    @property
    def sentinel(self):
        """A descriptor that becomes readable when the parent has ended."""
        from kinfolk import _core

        return _core.parent_sentinel()

    def join(self, timeout=None):
        """Wait until the parent has ended, at most ``timeout`` seconds."""
        self._ended(timeout)


class _MainProcess(BaseProcess):
    """The process that nobody of the family started."""

    def __init__(self):
        self._identity = ()
        self._name = "MainProcess"
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {
            "authkey": AuthenticationString(os.urandom(32)),
            "semprefix": "/mp",
        }

    def close(self):
        """The main process cannot be closed."""


_parent_process = None
_current_process = _MainProcess()
_process_counter = itertools.count(1)
_children = set()

# All process objects that live, for test suites.
_dangling = WeakSet()

# Of the names that a signal has the first in alphabetical order, as in signal.Signals.
_exit_names = {
    -number: f"-{name}"
    for name, number in sorted(vars(_signal).items(), reverse=True)
    if name.startswith("SIG") and not name.startswith("SIG_")
}


def _exit_code(error):
    """The exit code that a SystemExit asks for, as the interpreter would report it."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    sys.stderr.write(f"{error.code}\n")
    return 1


def _write_whole_lines():
    """Make an unbuffered output stream hand on lines in one piece: processes share the file."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "write_through", False):
            stream.reconfigure(line_buffering=True, write_through=False)


def _become(process):
    """Make ``process`` the current one: called first thing in a child."""
    global _current_process, _parent_process
    # Kept until the after-fork functions have run: what they look for may hang on it.
    process._forgotten = _current_process
    _parent_process = _ParentProcess(process._parent_name, process._parent_pid)
    _current_process = process
    _write_whole_lines()
    main_thread = threading.main_thread()
    if main_thread is not threading.current_thread():
        threading.current_thread().name = "MainThread"
    main_thread._set_native_id()
