"""Logging, finalizers, what runs after a fork, and how this process ends."""

import atexit
import itertools
import os
import signal
import sys
import threading
import time
import weakref
from subprocess import _args_from_interpreter_flags

from kinfolk import process

__all__ = [
    "Finalize",
    "ForkAwareLocal",
    "ForkAwareThreadLock",
    "SUBDEBUG",
    "SUBWARNING",
    "close_all_fds_except",
    "debug",
    "get_logger",
    "get_temp_dir",
    "info",
    "is_exiting",
    "log_to_stderr",
    "register_after_fork",
    "sub_debug",
    "sub_warning",
]

# --- logging ---------------------------------------------------------------------------------

NOTSET = 0
SUBDEBUG = 5
DEBUG = 10
INFO = 20
SUBWARNING = 25
WARNING = 30

LOGGER_NAME = "multiprocessing"
DEFAULT_LOGGING_FORMAT = "[%(levelname)s/%(processName)s] %(message)s"

_logger = None
_log_to_stderr = False


def _log(level, message, args):
    # The caller's caller is who speaks: debug() and this function stand between.
    if _logger is not None:
        _logger.log(level, message, *args, stacklevel=3)


def sub_debug(msg, *args):
    """Log at level 5, below DEBUG, once ``get_logger`` has been called."""
    _log(SUBDEBUG, msg, args)


def debug(msg, *args):
    """Log at DEBUG, once ``get_logger`` has been called."""
    _log(DEBUG, msg, args)


def info(msg, *args):
    """Log at INFO, once ``get_logger`` has been called."""
    _log(INFO, msg, args)


def sub_warning(msg, *args):
    """Log at level 25, below WARNING, once ``get_logger`` has been called."""
    _log(SUBWARNING, msg, args)


def _warn(msg, *args):
    _log(WARNING, msg, args)


def get_logger():
    """The logger that Kinfolk writes to; without a handler of its own at first."""
    global _logger
    import logging

    with _logging_lock:
        if _logger is None:
            logger = logging.getLogger(LOGGER_NAME)
            logger.propagate = 0
            # Records of other loggers may be written after this process's exit function has run:
            # logging's own goes last.
            atexit.unregister(_exit_function)
            atexit.register(_exit_function)
            _logger = logger
    return _logger


def log_to_stderr(level=None):
    """Add a handler that writes to stderr; set ``level`` if one is given. Returns the logger."""
    global _log_to_stderr
    import logging

    logger = get_logger()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(DEFAULT_LOGGING_FORMAT))
    logger.addHandler(handler)
    if level:
        logger.setLevel(level)
    _log_to_stderr = True
    return logger


_logging_lock = threading.Lock()


# --- places ----------------------------------------------------------------------------------


def is_abstract_socket_namespace(address):
    """Whether an AF_UNIX address is a name that is no file."""
    if not address:
        return False
    if isinstance(address, (str, bytes)):
        return address[0] in ("\0", 0)
    raise TypeError(f"address type of {address!r} unrecognized: a path, or (host, port)")


abstract_sockets_supported = True


def _remove_temp_dir(path):
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    config = getattr(process.current_process(), "_config", {})
    if config.get("tempdir") == path:
        config["tempdir"] = None


def get_temp_dir():
    """A folder of this process and its children, removed when the one that made it ends."""
    config = process.current_process()._config
    path = config.get("tempdir")
    if path is None:
        import tempfile

        path = tempfile.mkdtemp(prefix="pymp-")
        info("created temp directory %s", path)
        # After everything that may have files in it.
        Finalize(None, _remove_temp_dir, args=(path,), exitpriority=-100)
        config["tempdir"] = path
    return path


# --- after a fork ----------------------------------------------------------------------------

# Keyed by order of registration; an object that is gone takes its entry along.
_afterfork_registry = weakref.WeakValueDictionary()
_afterfork_order = itertools.count()


def register_after_fork(obj, func):
    """Call ``func(obj)`` in children that this process forks, as long as ``obj`` lives."""
    _afterfork_registry[next(_afterfork_order), id(obj), func] = obj


def _run_after_forkers():
    for (_, _, func), obj in sorted(_afterfork_registry.items(), key=lambda item: item[0][0]):
        try:
            func(obj)
        except Exception as error:
            info("after forker raised exception %s", error)


# --- finalizers ------------------------------------------------------------------------------

_finalizer_registry = {}
_finalizer_order = itertools.count()


class Finalize:
    """Calls ``callback(*args, **kwargs)`` once: when called, when ``obj`` is gone, or at exit.

    At exit those with an ``exitpriority`` run, the highest first, and of one priority the latest
    first; in a forked child none of the parent's does. ``obj`` may be None if there is a priority.
    """

    def __init__(self, obj, callback, args=(), kwargs=None, exitpriority=None):
        if exitpriority is not None and not isinstance(exitpriority, int):
            raise TypeError(
                f"Exitpriority ({exitpriority!r}) must be None or int, not {type(exitpriority)!s}"
            )
        if obj is None and exitpriority is None:
            raise ValueError("Without object, exitpriority cannot be None")
        self._weakref = None if obj is None else weakref.ref(obj, self)
        self._callback = callback
        self._args = args
        self._kwargs = kwargs or {}
        self._key = (exitpriority, next(_finalizer_order))
        self._pid = os.getpid()
        _finalizer_registry[self._key] = self

    def __call__(
        self, wr=None, _registry=_finalizer_registry, sub_debug=sub_debug, getpid=os.getpid
    ):
        """Run the callback unless it has run, or was cancelled; returns its value."""
        # The defaults keep what is needed alive while the interpreter takes modules down.
        if _registry.pop(self._key, None) is None:
            sub_debug("finalizer no longer registered")
            return None
        result = None
        if self._pid != getpid():
            sub_debug("finalizer ignored because different process")
        else:
            sub_debug("finalizer calling %s", self._callback)
            result = self._callback(*self._args, **self._kwargs)
        self._forget()
        return result

    def _forget(self):
        self._weakref = self._callback = self._args = self._kwargs = self._key = None

    def cancel(self):
        """Never run it."""
        if self._key is not None and _finalizer_registry.pop(self._key, None) is not None:
            self._forget()

    def still_active(self):
        """Whether it is still to run."""
        return self._key in _finalizer_registry

    def __repr__(self):
        obj = self._weakref() if self._weakref is not None else None
        name = type(self).__name__
        if self._callback is None:
            return f"<{name} object, dead>"
        text = f"<{name} object, callback={getattr(self._callback, '__name__', self._callback)}"
        if self._args:
            text += f", args={self._args}"
        if self._kwargs:
            text += f", kwargs={self._kwargs}"
        if self._key[0] is not None:
            text += f", exitpriority={self._key[0]}"
        return text + (f", obj={obj!r}>" if obj is not None else ">")


def _run_finalizers(minpriority=None):
    """Run those that have a priority (of at least ``minpriority``, if given), highest first.

    A finalizer may register others: those of a lower priority than its own still run.
    """
    if _finalizer_registry is None:
        return  # the interpreter has taken this module down
    floor = float("-inf") if minpriority is None else minpriority
    done = set()
    while True:
        due = [
            key
            for key in list(_finalizer_registry)
            if key[0] is not None and key[0] >= floor and key not in done
        ]
        if not due:
            break
        key = max(due)
        done.add(key)
        finalizer = _finalizer_registry.get(key)
        if finalizer is None:
            continue
        sub_debug("calling %s", finalizer)
        try:
            finalizer()
        except Exception:
            import traceback

            traceback.print_exc()
    if minpriority is None:
        _finalizer_registry.clear()


# --- the end of this process -----------------------------------------------------------------

_exiting = False


def is_exiting():
    """Whether this process is past the beginning of its end."""
    return _exiting or _exiting is None


def _exit_function():
    """The orderly end: finalizers, then daemonic children terminated and all children joined."""
    global _exiting
    if _exiting:
        return
    _exiting = True
    info("process shutting down")
    debug('running all "atexit" finalizers with priority >= 0')
    _run_finalizers(0)
    # None while the interpreter takes modules down.
    if process.current_process() is not None:
        children = process.active_children()
        for child in children:
            if child.daemon:
                info("calling terminate() for daemon %s", child.name)
                child._popen.terminate()
        for child in process.active_children():
            info("calling join() for process %s", child.name)
            child.join()
    debug('running the remaining "atexit" finalizers')
    _run_finalizers()


atexit.register(_exit_function)


# --- locks and locals that forked children find fresh ----------------------------------------


class ForkAwareThreadLock:
    """A ``threading.Lock`` that is unlocked in forked children."""

    def __init__(self):
        self._lock = threading.Lock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        register_after_fork(self, ForkAwareThreadLock._at_fork_reinit)

    def _at_fork_reinit(self):
        self._lock._at_fork_reinit()

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *exc_info):
        return self._lock.__exit__(*exc_info)


class ForkAwareLocal(threading.local):
    """A ``threading.local`` that is empty in forked children, and pickled empty."""

    def __new__(cls):
        self = super().__new__(cls)
        register_after_fork(self, lambda local: local.__dict__.clear())
        return self

    def __reduce__(self):
        return type(self), ()


# --- descriptors -----------------------------------------------------------------------------

try:
    MAXFD = os.sysconf("SC_OPEN_MAX")
except (OSError, ValueError):
    MAXFD = 256


def close_all_fds_except(fds):
    """Close every descriptor but the listed ones."""
    kept = sorted({-1, MAXFD, *fds})
    for low, high in zip(kept, kept[1:]):
        os.closerange(low + 1, high)


def close_fds(*fds):
    """Close the listed descriptors."""
    for fd in fds:
        os.close(fd)


def _close_stdin():
    """Give this process an empty standard input."""
    if sys.stdin is None:
        return
    try:
        sys.stdin.close()
    except (OSError, ValueError):
        pass
    try:
        fd = os.open(os.devnull, os.O_RDONLY)
        try:
            sys.stdin = open(fd, encoding="utf-8", closefd=False)
        except BaseException:
            os.close(fd)
            raise
    except (OSError, ValueError):
        pass


def _flush_std_streams():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass


class _SigintBlocked:
    """What is started meanwhile is started with SIGINT blocked; here it is delivered afterwards."""

    def __enter__(self):
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def __exit__(self, *exc_info):
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def spawnv_passfds(path, args, passfds):
    """Execute ``path`` in a new child that has only the listed descriptors; returns its pid."""
    import subprocess

    # The object would complain at its end that its child still runs: it is the caller's now.
    child = subprocess.Popen(
        args, executable=path, pass_fds=tuple(passfds), close_fds=True, restore_signals=False
    )
    child.returncode = 0
    return child.pid


# --- conditions ------------------------------------------------------------------------------


def _wait_for(condition, predicate, timeout=None):
    """``wait_for`` of a condition, or of a proxy of one."""
    result = predicate()
    end = None if timeout is None else time.monotonic() + timeout
    while not result:
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            break
        condition.wait(left)
        result = predicate()
    return result


# --- for test suites -------------------------------------------------------------------------


def _cleanup_tests():
    """End the helper processes that tests may have started, and forget what is garbage."""
    from test import support

    if "kinfolk.forkserver" in sys.modules:
        sys.modules["kinfolk.forkserver"]._forkserver._stop()
    if "kinfolk.resource_tracker" in sys.modules:
        sys.modules["kinfolk.resource_tracker"]._resource_tracker._stop()
    _run_finalizers()
    support.gc_collect()
    support.reap_children()
