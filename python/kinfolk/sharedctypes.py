"""ctypes objects in shared memory, with and without a lock."""

import ctypes

from kinfolk import context, heap
from kinfolk.reduction import ForkingPickler

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

# The codes of the array module, and "c" for a character.
typecode_to_type = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}

_SimpleType = ctypes.c_int.__base__


def _type_of(typecode_or_type):
    return typecode_to_type.get(typecode_or_type, typecode_or_type)


def _new_value(type_):
    return rebuild_ctype(type_, heap.BufferWrapper(ctypes.sizeof(type_)), None)


def RawValue(typecode_or_type, *args):
    """A ctypes object in shared memory, made of ``args``; nobody locks it."""
    obj = _new_value(_type_of(typecode_or_type))
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type, size_or_initializer):
    """A ctypes array in shared memory: of so many zeros, or of the items of a sequence."""
    type_ = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new_value(type_ * size_or_initializer)
    array = _new_value(type_ * len(size_or_initializer))
    array.__init__(*size_or_initializer)
    return array


def _with_lock(obj, lock, ctx):
    """``lock``: True or None for a new one, False for none, else the lock itself."""
    if lock is False:
        return obj
    if lock is True or lock is None:
        lock = (ctx or context._default_context.get_context()).RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock, ctx=ctx)


def Value(typecode_or_type, *args, lock=True, ctx=None):
    """A ctypes object in shared memory, with a recursive lock unless ``lock`` says otherwise."""
    return _with_lock(RawValue(typecode_or_type, *args), lock, ctx)


def Array(typecode_or_type, size_or_initializer, *, lock=True, ctx=None):
    """A ctypes array in shared memory, with a recursive lock unless ``lock`` says otherwise."""
    return _with_lock(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def copy(obj):
    """A ctypes object in shared memory with the contents of ``obj``."""
    duplicate = _new_value(type(obj))
    ctypes.pointer(duplicate)[0] = obj
    return duplicate


def synchronized(obj, lock=None, ctx=None):
    """``obj`` behind a lock: its items and fields are read and written under it."""
    if isinstance(obj, SynchronizedBase):
        raise AssertionError("object already synchronized")
    ctx = ctx or context._default_context.get_context()
    if isinstance(obj, _SimpleType):
        return Synchronized(obj, lock, ctx)
    if isinstance(obj, ctypes.Array):
        if obj._type_ is ctypes.c_char:
            return SynchronizedString(obj, lock, ctx)
        return SynchronizedArray(obj, lock, ctx)
    return _synchronized_class(type(obj))(obj, lock, ctx)


# --- pickling ---------------------------------------------------------------------------------


def reduce_ctype(obj):
    """How a ctypes object in shared memory is pickled, for a child that is being started."""
    context.assert_spawning(obj)
    if isinstance(obj, ctypes.Array):
        return rebuild_ctype, (obj._type_, obj._wrapper, obj._length_)
    return rebuild_ctype, (type(obj), obj._wrapper, None)


def rebuild_ctype(type_, wrapper, length):
    """The object of that type (an array of it, if there is a length) in a wrapper's memory."""
    if length is not None:
        type_ = type_ * length
    ForkingPickler.register(type_, reduce_ctype)
    obj = type_.from_buffer(wrapper.create_memoryview())
    obj._wrapper = wrapper
    return obj


# --- behind a lock ----------------------------------------------------------------------------


def _locked(name):
    """A property that is the object's own, under the lock."""

    # Not by `with`, whose methods are Python's: this is what counters are incremented by.
    def get(self):
        self.acquire()
        try:
            return getattr(self._obj, name)
        finally:
            self.release()

    def set(self, value):
        self.acquire()
        try:
            setattr(self._obj, name, value)
        finally:
            self.release()

    return property(get, set, doc=f"``{name}`` of the object, under the lock.")


_classes = {}


def _synchronized_class(type_):
    """For a structure: a class with its fields as properties."""
    cls = _classes.get(type_)
    if cls is None:
        fields = {field[0]: _locked(field[0]) for field in getattr(type_, "_fields_", ())}
        cls = _classes[type_] = type(f"Synchronized{type_.__name__}", (SynchronizedBase,), fields)
    return cls


class SynchronizedBase:
    """A ctypes object and its lock, which is also a context manager."""

    def __init__(self, obj, lock=None, ctx=None):
        self._obj = obj
        self._lock = lock or (ctx or context._default_context.get_context()).RLock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *exc_info):
        return self._lock.__exit__(*exc_info)

    def __reduce__(self):
        context.assert_spawning(self)
        return synchronized, (self._obj, self._lock)

    def get_obj(self):
        """The ctypes object."""
        return self._obj

    def get_lock(self):
        """The lock."""
        return self._lock

    def __repr__(self):
        return f"<{type(self).__name__} wrapper for {self._obj}>"


class Synchronized(SynchronizedBase):
    """A simple ctypes object and its lock."""

    value = _locked("value")


class SynchronizedArray(SynchronizedBase):
    """A ctypes array and its lock."""

    def __len__(self):
        return len(self._obj)

    def __getitem__(self, i):
        with self._lock:
            return self._obj[i]

    def __setitem__(self, i, value):
        with self._lock:
            self._obj[i] = value



class SynchronizedString(SynchronizedArray):
    """An array of characters and its lock."""

    value = _locked("value")
    raw = _locked("raw")
