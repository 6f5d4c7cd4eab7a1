"""Named shared memory, for processes that need not be related: ``SharedMemory``, ``ShareableList``."""

import errno
import mmap
import os
import secrets
import struct
import types
from functools import partial

__all__ = ["ShareableList", "SharedMemory"]

_USE_POSIX = True

_O_CREX = os.O_CREAT | os.O_EXCL

# As shm_open has it: a name is one of a file in this folder.
_FOLDER = "/dev/shm"

_SHM_SAFE_NAME_LENGTH = 14
_SHM_NAME_PREFIX = "/psm_"


def _make_filename():
    """A new name; short enough for every system."""
    count = (_SHM_SAFE_NAME_LENGTH - len(_SHM_NAME_PREFIX)) // 2
    return _SHM_NAME_PREFIX + secrets.token_hex(count)


def _path(name):
    if "\0" in name:
        raise ValueError("embedded null character")
    word = name.lstrip("/")
    if not word or "/" in word or word in (".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return f"{_FOLDER}/{word}"


class SharedMemory:
    """A block of memory under a name, seen by every process that opens it.

    ``create``: make it, of ``size`` bytes (rounded up to whole pages where it is opened), under
    ``name`` or a new one; else open the one that has the name. ``track``: the resource tracker
    removes the name if nobody else has; what ``unlink`` was called for is not tracked any more.
    """

    _name = None
    _fd = -1
    _mmap = None
    _buf = None
    _flags = os.O_RDWR
    _mode = 0o600
    _prepend_leading_slash = True
    _track = True

    def __init__(self, name=None, create=False, size=0, *, track=True):
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create:
            self._flags = _O_CREX | os.O_RDWR
            if size == 0:
                raise ValueError("'size' must be a positive number different from zero")
        if name is None and not self._flags & os.O_EXCL:
            raise ValueError("'name' can only be None if create=True")
        self._track = track
        if name is None:
            self._create_under_new_name()
        else:
            name = "/" + name if self._prepend_leading_slash else name
            self._fd = self._open(name)
            self._name = name
        try:
            if create:
                # Not ftruncate alone: what the machine does not have is an error here, and not a
                # SIGBUS at the first use.
                os.posix_fallocate(self._fd, 0, size)
            self._size = os.fstat(self._fd).st_size
            self._mmap = mmap.mmap(self._fd, self._size)
        except (OSError, ValueError):
            if create:
                self._remove()
            self.close()
            raise
        if self._track:
            from kinfolk import resource_tracker

            resource_tracker.register(self._name, "shared_memory")
        self._buf = memoryview(self._mmap)

    def _open(self, name):
        return os.open(_path(name), self._flags | os.O_CLOEXEC | os.O_NOFOLLOW, self._mode)

    def _create_under_new_name(self):
        while True:
            name = _make_filename()
            try:
                self._fd = self._open(name)
            except FileExistsError:
                continue
            self._name = name
            return

    def _remove(self):
        os.unlink(_path(self._name))

    def __del__(self):
        try:
            self.close()
        except OSError:
            pass

    def __reduce__(self):
        return self.__class__, (self.name, False, self.size)

    def __repr__(self):
        return f"{self.__class__.__name__}({self.name!r}, size={self.size})"

    @property
    def buf(self):
        """A memoryview of the contents; None once closed."""
        return self._buf

    @property
    def name(self):
        """The name by which other processes open it."""
        reported = self._name
        if self._prepend_leading_slash and reported.startswith("/"):
            reported = reported[1:]
        return reported

    @property
    def size(self):
        """Its length in bytes."""
        return self._size

    def close(self):
        """Give up this process's view of it; the memory and the name stay."""
        if self._buf is not None:
            self._buf.release()
            self._buf = None
        if self._mmap is not None:
            self._mmap.close()
            self._mmap = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def unlink(self):
        """Remove the name; the memory goes with the last process that has it open."""
        if self._name:
            self._remove()
            if self._track:
                from kinfolk import resource_tracker

                resource_tracker.unregister(self._name, "shared_memory")


_WORD = 8

# For each type of item: its struct format, None where that depends on the length, and its code.
_KINDS = {
    int: ("q", 0),
    float: ("d", 0),
    bool: ("xxxxxxx?", 0),
    str: (None, 1),
    bytes: (None, 2),
    type(None): ("xxxxxx?x", 3),
}


def _describe(value):
    """(format, or None: bytes; what is packed; the code) of an item."""
    try:
        fmt, code = _KINDS[type(value)]
    except KeyError:
        raise ValueError(
            f"an item must be int, float, bool, str, bytes or None, not {type(value).__name__}"
        ) from None
    return fmt, value.encode("utf-8") if code == 1 else value, code


def _restore(unpacked, code):
    """The item that was packed."""
    if code == 3:
        return None
    if code == 0:
        return unpacked
    data = unpacked.rstrip(b"\0")
    return data.decode("utf-8") if code == 1 else data


class ShareableList:
    """A list of fixed length in shared memory, of int, float, bool, str, bytes and None.

    An item can be replaced by any other that fits: a str or bytes into the room of the first item
    at its place, whose length in bytes was rounded up to the next multiple of 8. ``name``: of the
    segment; without a ``sequence``, open the list that is there.

    Contents, as Python's own: n, the number of items; n + 1 offsets of items, from the first one on,
    the last of them the end; the items; the items' ``struct`` formats, 8 bytes each; a byte for each
    item that says what it is. Numbers are 8 bytes, in the machine's order.
    """

    def __init__(self, sequence=None, *, name=None):
        if sequence is None and name is not None:
            self.shm = SharedMemory(name)
            self._length = struct.unpack_from("q", self.shm.buf)[0]
            self._offsets = struct.unpack_from(f"{self._length + 1}q", self.shm.buf, _WORD)
            return
        items = [_describe(value) for value in sequence or ()]
        self._length = len(items)
        offsets = [0]
        for value, (fmt, packed, _) in zip(sequence or (), items):
            room = _WORD
            if fmt is None:
                # As Python's own: by the length in characters, if that is enough.
                room = _WORD * max(len(value) // _WORD + 1, -(-len(packed) // _WORD))
            offsets.append(offsets[-1] + room)
        self._offsets = tuple(offsets)
        # At least a byte of formats and codes, so that an empty list is a segment too.
        self.shm = SharedMemory(name, create=True, size=self._codes_at(self._length) or _WORD)
        struct.pack_into(f"{self._length + 2}q", self.shm.buf, 0, self._length, *offsets)
        for position, item in enumerate(items):
            self._store(position, *item)

    # Where things are.

    def _data_at(self, position):
        return _WORD * (self._length + 2) + self._offsets[position]

    def _format_at(self, position):
        return self._data_at(self._length) + _WORD * position

    def _codes_at(self, position):
        return self._format_at(self._length) + position

    def _checked(self, position, message):
        index = position + self._length if position < 0 else position
        if not 0 <= index < self._length:
            raise IndexError(message)
        return index

    def _store(self, position, fmt, packed, code):
        if fmt is None:
            room = self._offsets[position + 1] - self._offsets[position]
            if len(packed) > room:
                raise ValueError("bytes/str item exceeds available storage")
            fmt = f"{room}s"
        struct.pack_into(fmt, self.shm.buf, self._data_at(position), packed)
        struct.pack_into("8s", self.shm.buf, self._format_at(position), fmt.encode("ascii"))
        struct.pack_into("b", self.shm.buf, self._codes_at(position), code)

    def _get_packing_format(self, position):
        """The ``struct`` format of the item at a position."""
        index = self._checked(position, "Requested position out of range.")
        packed = struct.unpack_from("8s", self.shm.buf, self._format_at(index))[0]
        return packed.rstrip(b"\0").decode("ascii")

    def __getitem__(self, position):
        index = self._checked(position, "index out of range")
        fmt = self._get_packing_format(index)
        code = struct.unpack_from("b", self.shm.buf, self._codes_at(index))[0]
        return _restore(struct.unpack_from(fmt, self.shm.buf, self._data_at(index))[0], code)

    def __setitem__(self, position, value):
        index = self._checked(position, "assignment index out of range")
        self._store(index, *_describe(value))

    def __len__(self):
        return self._length

    def __reduce__(self):
        return partial(self.__class__, name=self.shm.name), ()

    def __repr__(self):
        return f"{self.__class__.__name__}({list(self)}, name={self.shm.name!r})"

    @property
    def format(self):
        """The ``struct`` formats of all items."""
        return "".join(map(self._get_packing_format, range(self._length)))

    def count(self, value):
        """How many items are equal to ``value``."""
        return sum(value == item for item in self)

    def index(self, value):
        """The first position of ``value``; ``ValueError`` if it is not there."""
        for position, item in enumerate(self):
            if item == value:
                return position
        raise ValueError(f"{value!r} is not in this list")

    __class_getitem__ = classmethod(types.GenericAlias)
