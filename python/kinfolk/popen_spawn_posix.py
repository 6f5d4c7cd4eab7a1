"""The handle of a child in a fresh interpreter."""

import os

from kinfolk import _core, popen_fork, resource_tracker, spawn
from kinfolk.context import set_spawning_popen

__all__ = ["Popen"]


class _DupFd:
    """A descriptor that the child inherits under its number."""

    def __init__(self, fd):
        self.fd = fd

    def detach(self):
        """The descriptor, in the child."""
        return self.fd


class Popen(popen_fork.Popen):
    """A child of the start method spawn."""

    method = "spawn"
    DupFd = _DupFd

    def __init__(self, process_obj):
        self._fds = []
        # References do not keep shared objects alive: this handle does, until the child has them.
        self._shared = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd):
        """The child inherits it; the number that it will have there."""
        self._fds.append(fd)
        return fd

    def keep_for_child(self, obj):
        """Keep ``obj`` alive here: the child is sent a reference to what it stands for."""
        self._shared.append(obj)

    def _launch(self, process_obj):
        # One tracker for all of us: a name that the child makes outlives it.
        tracker = resource_tracker.getfd()
        self._fds.append(tracker)
        set_spawning_popen(self)
        try:
            data = spawn._pack(process_obj, tracker)
        finally:
            set_spawning_popen(None)
        self._adopt(self._start(data, process_obj))

    def _start(self, data, process_obj):
        return self._execute("spawn", spawn.get_command_line(), data, process_obj)

    def _execute(self, method, command, data, process_obj):
        return _core.Process.start(
            method,
            [os.fsencode(word) for word in command],
            data,
            self._fds,
            process_obj.name,
            bool(process_obj.daemon),
        )
