"""Makes ``multiprocessing`` mean Kinfolk in Python processes that are started by others.

``kinfolk.install`` puts this folder at the head of ``PYTHONPATH``: an interpreter that a library or
the program itself executes (loky's workers, say) runs this file at its start. Nothing is imported
before the process asks for ``multiprocessing``.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_HOME = os.path.dirname(os.path.dirname(_HERE))


class _Finder:
    """Installs the alias when ``multiprocessing`` is imported for the first time."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] != "multiprocessing":
            return None
        sys.meta_path.remove(self)
        added = _HOME not in sys.path
        if added:
            sys.path.append(_HOME)
        try:
            from kinfolk import _alias
        except ImportError:
            return None  # an interpreter that the extension was not built for
        finally:
            if added:
                sys.path.remove(_HOME)
        return _alias.install_first(fullname)


def _run_next():
    """The sitecustomize that this one stands before."""
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != _HERE]
    own = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        if own is not None:
            sys.modules["sitecustomize"] = own


if "multiprocessing" not in sys.modules:
    sys.meta_path.insert(0, _Finder())
if __name__ == "sitecustomize":
    _run_next()
