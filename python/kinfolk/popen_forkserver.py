"""The handle of a child that a fork server forked."""

from kinfolk import forkserver, popen_spawn_posix

__all__ = ["Popen"]


class Popen(popen_spawn_posix.Popen):
    """A child of the start method forkserver."""

    method = "forkserver"

    def _start(self, data, process_obj):
        return forkserver._forkserver._use(
            lambda method, command: self._execute(method, command, data, process_obj)
        )
