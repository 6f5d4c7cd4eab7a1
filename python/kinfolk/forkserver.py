"""The fork server: a small process that is started once and forks a child at each request.

The server is the library's (docs/design/process.md, "Fork server"); here is what it executes, and
what it imports before the first fork.
"""

import errno
import os
import sys

from kinfolk import _core, process, spawn, util

__all__ = ["ensure_running", "set_forkserver_preload"]

MAXFDS_TO_SEND = 256


class ForkServer:
    """This process's fork server: its modules to import, and whether it runs."""

    def __init__(self):
        self._preload_modules = ["__main__"]
        # What was to be preloaded makes the server useless: children load it themselves.
        self._bare = False

    @property
    def _forkserver_pid(self):
        return _core.forkserver_pid()

    def set_forkserver_preload(self, modules_names):
        """The modules, a list of str, that a server imports when it starts."""
        if not all(type(name) is str for name in modules_names):
            raise TypeError("module_names must be a list of strings")
        self._preload_modules = list(modules_names)
        self._bare = False

    def ensure_running(self):
        """Start the server if none runs."""
        with util._SigintBlocked():
            _core.forkserver_ensure([os.fsencode(word) for word in self._command()])

    def _stop(self):
        """End the server; a later start begins another."""
        _core.forkserver_stop()

    def _use(self, execute):
        """``execute(method, command)`` with the server's command.

        What is preloaded may start threads, or make shared objects, which would be another family's
        in a child: then a server that preloads nothing takes its place, and at last spawn.
        """
        while True:
            try:
                # Ctrl-C is not for the server, from its first instruction on, and for its children
                # once they are ready for it.
                with util._SigintBlocked():
                    return execute("forkserver", self._command())
            except OSError as error:
                if error.errno != errno.EDEADLK:
                    raise
                if self._bare:
                    return execute("spawn", spawn.get_command_line())
            self._bare = True
            self._stop()

    def _command(self):
        preload, arguments = [] if self._bare else self._preload_modules, {}
        if preload:
            known = ("sys_path", "init_main_from_path", "alias")
            data = spawn.get_preparation_data("ignore")
            arguments = {name: data[name] for name in known if name in data}
            if "init_main_from_path" in arguments:
                arguments["main_path"] = arguments.pop("init_main_from_path")
            arguments["preload"] = preload
        words = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return spawn._python_command(f"from kinfolk.forkserver import main; main({words})")


def main(preload=(), main_path=None, sys_path=None, alias=False):
    """What the server executes: imports the modules, then serves; returns never."""
    if preload:
        if alias:
            from kinfolk import _alias

            _alias.install()
        if sys_path is not None:
            sys.path[:] = sys_path
        if "__main__" in preload and main_path is not None:
            process.current_process()._inheriting = True
            try:
                spawn.import_main_path(main_path)
            except Exception:
                pass  # each child will meet it again, and tell
            finally:
                del process.current_process()._inheriting
        for name in preload:
            try:
                __import__(name)
            except ImportError:
                pass
        util._flush_std_streams()
    _core.child_main([os.fsencode(word) for word in sys.argv[-2:]])


_forkserver = ForkServer()
ensure_running = _forkserver.ensure_running
set_forkserver_preload = _forkserver.set_forkserver_preload


def get_inherited_fds():
    """The descriptors that a server's child inherited; None: they keep their numbers here."""
    return None


def connect_to_new_process(fds):
    """Not how children are started here; see ``popen_forkserver``."""
    raise NotImplementedError("children of the fork server are started by Process.start")


def read_signed(fd):
    """An 8-byte signed integer, read from a descriptor."""
    data = b""
    while len(data) < 8:
        part = os.read(fd, 8 - len(data))
        if not part:
            raise EOFError("unexpected EOF")
        data += part
    return int.from_bytes(data, sys.byteorder, signed=True)


def write_signed(fd, n):
    """Write an 8-byte signed integer to a descriptor."""
    data = n.to_bytes(8, sys.byteorder, signed=True)
    while data:
        data = data[os.write(fd, data) :]
