"""Makes the name ``multiprocessing``, and each of its submodules, mean Kinfolk."""

import importlib
import importlib.abc
import importlib.machinery
import os
import sys

__all__ = ["install", "is_installed"]

_NAME = "multiprocessing"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``multiprocessing`` and ``multiprocessing.x`` as ``kinfolk`` and ``kinfolk.x``.

    A submodule that Kinfolk does not have is not found: the standard package is never loaded, since
    two packages with separate state in one process would be worse than an ImportError.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname == _NAME or fullname.startswith(_NAME + "."):
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def create_module(self, spec):
        real = "kinfolk" + spec.name[len(_NAME) :]
        try:
            module = importlib.import_module(real)
        except ModuleNotFoundError as error:
            if error.name != real:
                raise
            raise ModuleNotFoundError(
                f"No module named {spec.name!r} in Kinfolk", name=spec.name
            ) from None
        # The import system is about to write the alias's spec into the module: keep its own.
        self._own = (module.__spec__, module.__loader__)
        return module

    def exec_module(self, module):
        module.__spec__, module.__loader__ = self._own


_finder = _Finder()


def is_installed():
    """Whether ``multiprocessing`` means Kinfolk in this process."""
    return _finder in sys.meta_path


def install_first(fullname):
    """Install while ``fullname`` is being imported; its spec."""
    sys.meta_path.insert(0, _finder)
    return _finder.find_spec(fullname)


def install():
    """From now on ``import multiprocessing`` means Kinfolk in this process and its children."""
    if is_installed():
        return
    loaded = sys.modules.get(_NAME)
    if loaded is not None and loaded is not sys.modules["kinfolk"]:
        raise ImportError(
            "the standard multiprocessing package is already loaded: call kinfolk.install() before "
            "anything imports it"
        )
    sys.meta_path.insert(0, _finder)
    importlib.import_module(_NAME)
    _tell_other_interpreters()


def _tell_other_interpreters():
    """Those that others start in this process's environment: see _site/sitecustomize.py."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_site")
    path = os.environ.get("PYTHONPATH", "")
    if folder not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = folder + os.pathsep + path if path else folder
