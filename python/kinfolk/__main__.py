"""``python3 -m kinfolk script.py [args]``: run a script whose multiprocessing is Kinfolk."""

import io
import os
import sys
import types

from kinfolk import _alias, process


__all__ = ["main"]


def main():
    """Run the script as ``__main__``; returns only if it ends by itself."""
    if len(sys.argv) < 2:
        sys.exit("usage: python3 -m kinfolk script.py [argument ...]")
    script = sys.argv[1]
    del sys.argv[0]
    try:
        with io.open_code(os.path.abspath(script)) as file:
            source = file.read()
    except OSError as error:
        sys.exit(f"kinfolk: cannot read the script {script!r}: {error.strerror}")
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    _alias.install()
    process._write_whole_lines()
    # A module of its own, which stays __main__ in this process and in its children: what the script
    # defines is found by its pickled name.
    module = types.ModuleType("__main__")
    module.__file__ = script
    module.__builtins__ = __builtins__
    sys.modules["__main__"] = module
    exec(compile(source, script, "exec"), module.__dict__)


if __name__ == "__main__":
    main()
