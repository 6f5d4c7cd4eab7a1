"""Pickling for other processes: the pickler, its registry, and descriptors as objects."""

import collections
import copyreg
import functools
import io
import pickle
import socket
import struct
from abc import ABCMeta

from kinfolk import _core

__all__ = ["ForkingPickler", "dump", "register", "recv_handle", "send_handle"]

HAVE_SEND_HANDLE = True

# Whether an acknowledgement follows descriptors: Linux needs none.
ACKNOWLEDGE = False


class ForkingPickler(pickle.Pickler):
    """The pickler of all that travels between processes; ``register`` teaches it types."""

    _extra_reducers = {}
    _copyreg_dispatch = copyreg.dispatch_table

    def __init__(self, *args):
        super().__init__(*args)
        self.dispatch_table = {**self._copyreg_dispatch, **self._extra_reducers}

    @classmethod
    def register(cls, type, reduce):
        """Pickle objects of exactly ``type`` by ``reduce(obj)``, as ``copyreg`` has it."""
        cls._extra_reducers[type] = reduce

    @classmethod
    def dumps(cls, obj, protocol=None):
        """The pickle of ``obj``, as a buffer."""
        file = io.BytesIO()
        _pickler(cls)(file, protocol).dump(obj)
        return file.getbuffer()

    loads = pickle.loads


register = ForkingPickler.register


def dump(obj, file, protocol=None):
    """Pickle ``obj`` into ``file``."""
    _pickler(ForkingPickler)(file, protocol).dump(obj)


# --- what was typed at a prompt ---------------------------------------------------------------

_by_value = {}


def _pickler(cls):
    """The pickler to use in the place of ``cls``.

    Functions and classes of a ``__main__`` that has no file are pickled by value, by cloudpickle where
    that is installed; without it, only children that are forked later know them.
    """
    if not _core.at_prompt():
        return cls
    found = _by_value.get(cls)
    if found is None:
        try:
            import cloudpickle
        except ImportError:
            return cls

        class PromptPickler(cloudpickle.CloudPickler):
            def __init__(self, *args):
                super().__init__(*args)
                # Types are registered at any time: their table comes first, as it is.
                self.dispatch_table = collections.ChainMap(cls._extra_reducers, self.dispatch_table)

        found = _by_value[cls] = PromptPickler
    return found


def explain(error):
    """Add to an ``AttributeError`` of unpickling why a child does not find what was typed."""
    if _core.at_prompt() and "on <module '__main__'" in str(error) and error.args:
        error.args = (
            f"{error.args[0]}: functions and classes that are typed at a prompt are known to "
            "children that are forked later; for others, install the package cloudpickle, or "
            "import them from a module",
        )


# --- descriptors -----------------------------------------------------------------------------


def sendfds(sock, fds):
    """Send descriptors over an AF_UNIX socket, with a byte that counts them."""
    packed = struct.pack(f"{len(fds)}i", *fds)
    sock.sendmsg([bytes([len(fds) % 256])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])
    if ACKNOWLEDGE and sock.recv(1) != b"A":
        raise RuntimeError("did not receive acknowledgement of fd")


def recvfds(sock, size):
    """Receive ``size`` descriptors from an AF_UNIX socket, as a list."""
    item = struct.calcsize("i")
    room = item * size
    data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(room))
    if not data and not ancillary:
        raise EOFError
    if ACKNOWLEDGE:
        sock.send(b"A")
    if len(ancillary) != 1:
        raise RuntimeError(f"received {len(ancillary)} items of ancdata")
    level, kind, payload = ancillary[0]
    if level != socket.SOL_SOCKET or kind != socket.SCM_RIGHTS or len(payload) % item:
        raise RuntimeError("Invalid data received")
    count = len(payload) // item
    if count % 256 != data[0]:
        raise AssertionError(f"Len is {count} but msg[0] is {data[0]}")
    return list(struct.unpack(f"{count}i", payload))


def send_handle(conn, handle, destination_pid):
    """Send a descriptor over a connection. ``destination_pid`` is not needed on Linux."""
    with socket.fromfd(conn.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sendfds(sock, [handle])


def recv_handle(conn):
    """Receive a descriptor from a connection."""
    with socket.fromfd(conn.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        return recvfds(sock, 1)[0]


def DupFd(fd):
    """An object that is pickled for another process; its ``detach`` gives the descriptor there."""
    # Not at the top: a context's `reducer` is this very module.
    from kinfolk.context import get_spawning_popen

    popen = get_spawning_popen()
    if popen is not None:
        return popen.DupFd(popen.duplicate_for_child(fd))
    from kinfolk import resource_sharer

    return resource_sharer.DupFd(fd)


# --- what plain pickle does not know ---------------------------------------------------------


def _reduce_method(method):
    if method.__self__ is None:
        return getattr, (method.__class__, method.__func__.__name__)
    return getattr, (method.__self__, method.__func__.__name__)


class _Sample:
    def method(self):
        pass


register(type(_Sample().method), _reduce_method)


def _reduce_method_descriptor(descriptor):
    return getattr, (descriptor.__objclass__, descriptor.__name__)


register(type(list.append), _reduce_method_descriptor)
register(type(int.__add__), _reduce_method_descriptor)


def _reduce_partial(partial):
    return _rebuild_partial, (partial.func, partial.args, partial.keywords or {})


def _rebuild_partial(func, args, keywords):
    return functools.partial(func, *args, **keywords)


register(functools.partial, _reduce_partial)


def _reduce_socket(sock):
    return _rebuild_socket, (DupFd(sock.fileno()), sock.family, sock.type, sock.proto)


def _rebuild_socket(dup, family, type, proto):
    return socket.socket(family, type, proto, fileno=dup.detach())


register(socket.socket, _reduce_socket)


class AbstractReducer(metaclass=ABCMeta):
    """A base for what may be set as a context's ``reducer``."""

    ForkingPickler = ForkingPickler
    register = register
    dump = dump
    send_handle = send_handle
    recv_handle = recv_handle
    DupFd = DupFd

    def __init__(self, *args):
        for descriptor in (type(list.append), type(int.__add__)):
            register(descriptor, _reduce_method_descriptor)
        register(type(_Sample().method), _reduce_method)
        register(functools.partial, _reduce_partial)
        register(socket.socket, _reduce_socket)


