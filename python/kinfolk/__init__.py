"""Kinfolk: multiprocessing whose weight is in C.

``import kinfolk as multiprocessing``, or run an unmodified script with
``python3 -m kinfolk script.py``, or call ``kinfolk.install()`` first thing in a program.
"""

import sys

from kinfolk import context
from kinfolk._core import WorkerInitError, WorkerLostError, __version__

# Everything that the default context has, under its name: bound methods and classes.
__all__ = [name for name in dir(context._default_context) if not name.startswith("_")]
globals().update((name, getattr(context._default_context, name)) for name in __all__)
__all__.append("install")

# As in the standard package: log levels, and what lets __mp_main__ be pickled in the parent.
SUBDEBUG = 5
SUBWARNING = 25

if "__main__" in sys.modules:
    sys.modules["__mp_main__"] = sys.modules["__main__"]


def install():
    """Make ``multiprocessing`` and all its submodules mean Kinfolk, here and in all children.

    Raises ``ImportError`` if the standard package is loaded already.
    """
    from kinfolk import _alias

    _alias.install()
