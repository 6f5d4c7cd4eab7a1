"""Descriptors as objects that any relative can unpickle: a thread here hands them out."""

import os
import signal
import threading

from kinfolk import process, reduction, util

__all__ = ["DupFd", "stop"]


class DupFd:
    """A descriptor that whoever unpickles this object fetches from the process that made it."""

    def __init__(self, fd):
        duplicate = os.dup(fd)

        def send(connection, pid):
            reduction.send_handle(connection, duplicate, pid)

        self._id = _sharer.register(send, lambda: os.close(duplicate))

    def detach(self):
        """The descriptor; once only."""
        with _sharer.get_connection(self._id) as connection:
            return reduction.recv_handle(connection)


class _ResourceSharer:
    """What was registered, and the thread that serves it."""

    def __init__(self):
        self._key = 0
        self._cache = {}
        self._lock = threading.Lock()
        self._listener = None
        self._address = None
        self._thread = None
        util.register_after_fork(self, _ResourceSharer._afterfork)

    def register(self, send, close):
        """Registers a resource: (address, key), for ``get_connection`` in another process."""
        with self._lock:
            if self._address is None:
                self._start()
            self._key += 1
            self._cache[self._key] = (send, close)
            return self._address, self._key

    @staticmethod
    def get_connection(ident):
        """A connection over which the resource is being sent."""
        from kinfolk.connection import Client

        address, key = ident
        connection = Client(address, authkey=process.current_process().authkey)
        connection.send((key, os.getpid()))
        return connection

    def stop(self, timeout=None):
        """End the thread, and forget what nobody has fetched."""
        from kinfolk.connection import Client

        with self._lock:
            if self._address is not None:
                connection = Client(self._address, authkey=process.current_process().authkey)
                connection.send(None)
                connection.close()
                self._thread.join(timeout)
                if self._thread.is_alive():
                    util.sub_warning("_ResourceSharer thread did not stop when asked")
                self._listener.close()
                self._forget()

    def _forget(self):
        self._thread = self._address = self._listener = None
        for _, close in self._cache.values():
            close()
        self._cache.clear()

    def _afterfork(self):
        self._lock._at_fork_reinit()
        if self._listener is not None:
            # The name is the parent's to remove.
            self._listener._listener._unlink = None
            self._listener.close()
        self._forget()

    def _start(self):
        from kinfolk.connection import Listener

        self._listener = Listener(authkey=process.current_process().authkey, backlog=128)
        self._address = self._listener.address
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            try:
                with self._listener.accept() as connection:
                    message = connection.recv()
                    if message is None:
                        return
                    key, pid = message
                    send, close = self._cache.pop(key)
                    try:
                        send(connection, pid)
                    finally:
                        close()
            except Exception:
                if not util.is_exiting():
                    import sys

                    sys.excepthook(*sys.exc_info())


_sharer = _ResourceSharer()
stop = _sharer.stop
