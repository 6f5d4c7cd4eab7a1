"""The resource tracker: a process that removes names which their makers left behind.

It is started when the first name is registered, or the first child by spawn or forkserver starts,
is shared with all children, and ends when the last process that has its pipe has ended. What is
still registered then is removed, with a warning.
"""

import os
import signal
import sys
import threading
import warnings

from kinfolk import util

__all__ = ["ensure_running", "register", "unregister"]


def _unlink_semaphore(name):
    os.unlink("/dev/shm/sem." + name.lstrip("/"))


def _unlink_shared_memory(name):
    os.unlink("/dev/shm/" + name.lstrip("/"))


def cleanup_noop(name):
    """Names of this kind are registered for nothing but to be counted."""
    raise RuntimeError("noop should never be registered or cleaned up")


# kind of name -> what removes one
_CLEANUP_FUNCS = {
    "noop": cleanup_noop,
    "semaphore": _unlink_semaphore,
    "shared_memory": _unlink_shared_memory,
}
if sys.version_info >= (3, 13):
    _CLEANUP_FUNCS["dummy"] = lambda name: None  # for CPython's tests, which know these kinds


class ReentrantCallError(RuntimeError):
    """A signal handler or a garbage collection called the tracker in the middle of a call."""


class ResourceTracker:
    """This process's end of the tracker's pipe."""

    def __init__(self):
        self._lock = threading.RLock()
        self._fd = None
        self._pid = None
        self._exitcode = None

    def _reentrant_call_error(self):
        raise ReentrantCallError("Reentrant call into the multiprocessing resource tracker")

    def _held_once(self):
        count = getattr(self._lock, "_recursion_count", None)
        return count is None or count() <= 1

    def __del__(self):
        # Nothing waits at the interpreter's end: the tracker outlives this process on purpose.
        pass

    def _stop(self):
        """End the tracker, if this process started it, and wait for its end."""
        with self._lock:
            if not self._held_once():
                self._reentrant_call_error()
            if self._fd is None:
                return
            fd, self._fd = self._fd, None
            os.close(fd)
            pid, self._pid = self._pid, None
            if pid is not None:
                self._exitcode = self._wait_for(pid)

    @staticmethod
    def _wait_for(pid):
        try:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            return None

    def getfd(self):
        """The pipe's descriptor; starts the tracker if there is none."""
        self.ensure_running()
        return self._fd

    def ensure_running(self):
        """Start the tracker if there is none, or if it has died."""
        self._ensure_running_and_write()

    def _ensure_running_and_write(self, message=None):
        with self._lock:
            if not self._held_once():
                self._reentrant_call_error()
            if self._fd is not None and not self._check_alive(message):
                self._teardown_dead_process()
                warnings.warn(
                    "resource_tracker: process died unexpectedly, relaunching.  "
                    "Some resources might leak."
                )
            elif self._fd is not None:
                return
            self._launch()
            if message is not None:
                self._write(message)

    def _teardown_dead_process(self):
        os.close(self._fd)
        # A process that only inherited the pipe cannot wait for the tracker.
        if self._pid is not None:
            self._wait_for(self._pid)
        self._fd = self._pid = self._exitcode = None

    def _launch(self):
        from kinfolk import spawn

        read_end, write_end = os.pipe()
        try:
            kept = [read_end]
            try:
                kept.append(sys.stderr.fileno())
            except Exception:
                pass
            command = spawn._python_command(
                f"from kinfolk.resource_tracker import main; main({read_end})"
            )
            # Until it ignores them, the signals that it is to ignore are blocked.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
            try:
                self._pid = util.spawnv_passfds(command[0], command, kept)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        except BaseException:
            os.close(write_end)
            raise
        else:
            self._fd = write_end
        finally:
            os.close(read_end)

    def _check_alive(self, message=None):
        """Whether the tracker reads; sends ``message`` along."""
        try:
            self._write(message or b"PROBE:0:noop\n")
        except OSError:
            return False
        return True

    def register(self, name, rtype):
        """Remove that name when all processes have ended."""
        self._send("REGISTER", name, rtype)

    def unregister(self, name, rtype):
        """Leave that name alone."""
        self._send("UNREGISTER", name, rtype)

    def _send(self, cmd, name, rtype):
        message = f"{cmd}:{name}:{rtype}\n".encode("ascii")
        # A write of this length is never mixed with another process's.
        if len(message) > 512:
            raise ValueError("msg too long")
        self._ensure_running_and_write(message)

    def _write(self, message):
        written = os.write(self._fd, message)
        if written != len(message):
            raise OSError(f"wrote {written} of {len(message)} bytes to the resource tracker")


_IGNORED = (signal.SIGINT, signal.SIGTERM)

_resource_tracker = ResourceTracker()
ensure_running = _resource_tracker.ensure_running
register = _resource_tracker.register
unregister = _resource_tracker.unregister
getfd = _resource_tracker.getfd


# --- in the tracker ---------------------------------------------------------------------------


def _obey(line, registered):
    command, name, rtype = line.strip().decode("ascii").split(":")
    if rtype not in _CLEANUP_FUNCS:
        raise ValueError(f"Cannot register {name} for automatic cleanup: unknown type {rtype}")
    if command == "REGISTER":
        registered[rtype].add(name)
    elif command == "UNREGISTER":
        registered[rtype].remove(name)
    elif command != "PROBE":
        raise RuntimeError(f"unrecognized command {command!r}")


def _clean_up(registered):
    for rtype, names in registered.items():
        if names:
            try:
                warnings.warn(
                    f"resource_tracker: There appear to be {len(names)} leaked {rtype} objects "
                    f"to clean up at shutdown: {names}"
                )
            except Exception:
                pass
        for name in names:
            try:
                _CLEANUP_FUNCS[rtype](name)
            except Exception as error:
                warnings.warn(f"resource_tracker: {name!r}: {error}")


def main(fd):
    """What the tracker executes: reads commands from ``fd`` to the end, then removes the rest.

    Exits with 1 if there was any.
    """
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    for stream in (sys.stdin, sys.stdout):
        try:
            stream.close()
        except Exception:
            pass
    registered = {rtype: set() for rtype in _CLEANUP_FUNCS}
    try:
        with open(fd, "rb") as file:
            for line in file:
                try:
                    _obey(line, registered)
                except Exception:
                    try:
                        sys.excepthook(*sys.exc_info())
                    except Exception:
                        pass
    finally:
        _clean_up(registered)
    sys.exit(any(registered.values()))
