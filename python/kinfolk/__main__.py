"""``python3 -m kinfolk``: run a program whose ``multiprocessing`` is Kinfolk.

As the interpreter itself: ``script.py [args]``, ``-m module [args]``, ``-c code [args]``, ``-`` for
standard input; a script may be a folder or a zip file with a ``__main__.py``.
"""

import builtins
import io
import marshal
import os
import runpy
import sys
import types
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER

from kinfolk import _alias, process

__all__ = ["main"]

_USAGE = "usage: python3 -m kinfolk (script.py | -m module | -c code | -) [argument ...]"


def _become_main(**attributes):
    """A fresh ``__main__``, which stays that: what the program defines is found by its name."""
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    module.__dict__.update(attributes)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    return module


def _run_code(code, name, **attributes):
    """Runs source text, or a code object."""
    module = _become_main(**attributes)
    if not isinstance(code, types.CodeType):
        code = compile(code, name, "exec")
    exec(code, module.__dict__)


def _run_script(script):
    if os.path.isdir(script) or _is_zip(script):
        sys.path[0] = script
        _run_module("__main__", set_argv=False)
        return
    path = os.path.join(os.getcwd(), script)  # the program may change its folder
    try:
        with io.open_code(path) as file:
            code = file.read()
    except OSError as error:
        sys.exit(f"kinfolk: cannot read the script {script!r}: {error.strerror}")
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    loader = SourceFileLoader
    if code.startswith(MAGIC_NUMBER):
        code = marshal.loads(code[16:])
        loader = SourcelessFileLoader
    _run_code(code, path, __file__=path, __cached__=None, __loader__=loader("__main__", path))


def _is_zip(path):
    if path.endswith(".py"):
        return False
    import zipfile

    return zipfile.is_zipfile(path)


def _run_module(name, set_argv=True):
    """As ``python3 -m name``: the module's code in a ``__main__`` that has its spec."""
    try:
        name, spec, code = runpy._get_main_module_details() if name == "__main__" else (
            runpy._get_module_details(name)
        )
    except ImportError as error:
        sys.exit(f"{sys.executable}: {error}")
    if set_argv:
        sys.argv[0] = spec.origin
    module = _become_main(
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
    )
    exec(code, module.__dict__)


def main():
    """Run what the arguments say as ``__main__``; returns only if it ends by itself."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stderr if not words else sys.stdout)
        sys.exit(2 if not words else 0)
    _alias.install()
    process._write_whole_lines()
    if words[0] in ("-m", "-c"):
        if len(words) < 2:
            print(f"kinfolk: {words[0]} needs an argument\n{_USAGE}", file=sys.stderr)
            sys.exit(2)
        sys.argv[:] = [words[0], *words[2:]]
        if words[0] == "-m":
            _run_module(words[1])
        else:
            _run_code(words[1], "<string>")
    elif words[0] == "-":
        sys.argv[:] = words
        _run_code(sys.stdin.read(), "<stdin>")
    elif words[0].startswith("-"):
        print(f"kinfolk: unknown option {words[0]}\n{_USAGE}", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv[:] = words
        _run_script(words[0])


if __name__ == "__main__":
    main()
