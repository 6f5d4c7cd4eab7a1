"""Memory for ``sharedctypes``: blocks of the library's arena as buffers.

The heap is the arena (docs/design/arena.md). What is kept here is what its users look for: each
block is an ``Arena`` of its own, wholly allocated, so there are no free blocks to keep.
"""

import sys
import threading

from kinfolk import _core, context

__all__ = ["BufferWrapper"]


class Arena:
    """One block of shared memory. ``buffer``: its bytes; ``size``: their number."""

    def __init__(self, size, buffer=None):
        self.size = size
        self.buffer = _core.Block(size) if buffer is None else buffer

    def __reduce__(self):
        return reduce_arena(self)


def reduce_arena(arena):
    """How an arena is pickled, for a child that is being started."""
    context.assert_spawning(arena)
    keep = getattr(context.get_spawning_popen(), "keep_for_child", None)
    if keep is not None:
        keep(arena.buffer)
    return rebuild_arena, (arena.size, arena.buffer._ref())


def rebuild_arena(size, ref):
    """The arena, in the child."""
    return Arena(size, _core.Block._attach(ref))


class Heap:
    """Hands out blocks, as (arena, start, stop), and knows which are in use."""

    def __init__(self):
        self._lock = threading.Lock()
        self._allocated_blocks = {}
        self._len_to_seq = {}
        self._pending_free_blocks = []
        self._n_mallocs = 0
        self._n_frees = 0

    @property
    def _arenas(self):
        return list(self._allocated_blocks)

    # No lock: a garbage collection in the middle of one of these may call the other.

    def malloc(self, size):
        """A block of at least ``size`` zero bytes."""
        if size < 0:
            raise ValueError(f"Size {size} must be >= 0")
        if size >= sys.maxsize:
            raise OverflowError(f"Size {size} too large")
        arena = Arena(max(size, 1))
        self._n_mallocs += 1
        self._allocated_blocks[arena] = {(0, arena.size)}
        return arena, 0, arena.size

    def free(self, block):
        """Gives a block back: its memory goes with the last process that uses it."""
        if self._allocated_blocks.pop(block[0], None) is not None:
            self._n_frees += 1


class BufferWrapper:
    """``size`` zero bytes of shared memory."""

    _heap = Heap()

    def __init__(self, size):
        heap = self._heap
        self._state = (heap.malloc(size), size)
        self._free = heap.free

    def __del__(self):
        free = self.__dict__.get("_free")
        if free is not None:
            free(self._state[0])

    def __getstate__(self):
        return {"_state": self._state}

    def create_memoryview(self):
        """The bytes."""
        (arena, start, _), size = self._state
        return memoryview(arena.buffer)[start : start + size]
