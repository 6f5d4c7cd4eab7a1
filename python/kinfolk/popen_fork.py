"""The handle of a child that was forked; what all handles have in common."""

import atexit
import os
import signal
import sys

from kinfolk import _core, util

__all__ = ["Popen"]


def _run_child(process_obj):
    """The life of a forked child, but for its very end; returns the exit code."""
    if sys.version_info < (3, 13):
        return process_obj._bootstrap()
    # From 3.13 on, what a child registers for its exit is run; what its parent had registered is not.
    atexit._clear()
    atexit.register(util._exit_function)
    try:
        return process_obj._bootstrap()
    finally:
        atexit._run_exitfuncs()
        util._flush_std_streams()


class Popen:
    """A started child. ``wait`` and ``poll`` give its exit code, or None while it runs."""

    method = "fork"

    def __init__(self, process_obj):
        util._flush_std_streams()
        self.returncode = None
        self.finalizer = None
        self._launch(process_obj)

    def _launch(self, process_obj):
        handle = _core.Process.fork(process_obj.name, bool(process_obj.daemon))
        if handle is None:
            code = 1
            try:
                code = _run_child(process_obj)
            finally:
                _core.leave()
                os._exit(code & 0xFF)
        self._adopt(handle)

    def _adopt(self, handle):
        self._handle = handle
        self.pid = handle.pid
        self.sentinel = handle.sentinel
        self.finalizer = util.Finalize(self, handle.close)

    def duplicate_for_child(self, fd):
        """The number that the descriptor will have in the child."""
        return fd

    def _learn(self, code):
        if code is not None:  # another thread may have learned more
            self.returncode = code
        return self.returncode

    def poll(self, flag=os.WNOHANG):
        """The exit code, or None while the child runs."""
        return self._learn(self._handle.exitcode() if self.returncode is None else None)

    def wait(self, timeout=None):
        """The exit code once the child has ended, or None when ``timeout`` seconds are over."""
        return self._learn(self._handle.join(timeout) if self.returncode is None else None)

    def _send_signal(self, number):
        if self.returncode is None:
            self._handle.signal(number)

    def interrupt(self):
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)

    def terminate(self):
        """Send SIGTERM."""
        self._send_signal(signal.SIGTERM)

    def kill(self):
        """Send SIGKILL."""
        self._send_signal(signal.SIGKILL)

    def close(self):
        """Give the handle back."""
        if self.finalizer is not None:
            self.finalizer()
