"""The package in the place of multiprocessing: names, files, children, prompts, executors."""

import os
import py_compile
import subprocess
import sys

import pytest

METHODS = ["fork", "spawn", "forkserver"]

# What a process has loaded of the standard package; called in every process.
LOOK = """
import os, sys
import multiprocessing, multiprocessing.pool, multiprocessing.queues, multiprocessing.connection

def look(_=None):
    stdlib = os.path.join(os.path.dirname(os.__file__), "multiprocessing")
    own = sys.modules["kinfolk"]
    return (
        multiprocessing is own,
        all(
            sys.modules[name.replace("kinfolk", "multiprocessing", 1)] is module
            for name, module in list(sys.modules.items())
            if name.startswith("kinfolk.")
            and name.replace("kinfolk", "multiprocessing", 1) in sys.modules
        ),
        [
            name
            for name, module in sys.modules.items()
            if str(getattr(module, "__file__", "")).startswith(stdlib)
        ],
        "_multiprocessing" in sys.modules or "_posixshmem" in sys.modules,
    )

GOOD = (True, True, [], False)

def tell(conn):
    conn.send(look())
"""


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_the_standard_package_is_loaded(script, method):
    done = script(
        LOOK
        + f"""
class Manager(multiprocessing.managers.BaseManager):
    pass

if __name__ == "__main__":
    import multiprocessing.managers
    ctx = multiprocessing.get_context({method!r})
    assert look() == GOOD, look()
    a, b = ctx.Pipe()
    child = ctx.Process(target=tell, args=(b,))
    child.start()
    assert a.recv() == GOOD
    child.join()
    with ctx.Pool(2) as pool:
        assert pool.map(look, range(4)) == [GOOD] * 4
    queue, shared = ctx.Queue(), ctx.Value("i", 1)
    queue.put(shared.value)
    assert queue.get() == 1
    with ctx.Manager() as manager:
        assert manager.Pool(1).apply(look) == GOOD
    from multiprocessing import shared_memory, synchronize, heap, sharedctypes, resource_tracker
    from multiprocessing import dummy, spawn, forkserver, reduction, util, popen_fork
    assert look() == GOOD, look()
    print("ok")
""".replace("class Manager(multiprocessing.managers.BaseManager):\n    pass\n", "")
    )
    assert (done.code, done.out, done.err) == (0, "ok\n", "")


def test_install(tmp_path):
    path = tmp_path / "installs.py"
    path.write_text(
        "import kinfolk\nkinfolk.install()\nkinfolk.install()\n"
        "import multiprocessing, concurrent.futures, sys\n"
        "from multiprocessing.pool import Pool\n"
        "assert multiprocessing is kinfolk and Pool.__module__ == 'kinfolk.pool'\n"
        "assert sys.modules['multiprocessing.pool'] is sys.modules['kinfolk.pool']\n"
        "print('ok')\n"
    )
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("ok\n", "")
    late = subprocess.run(
        [sys.executable, "-c", "import multiprocessing, kinfolk; kinfolk.install()"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "ImportError" in late.stderr and "before anything imports it" in late.stderr


def test_the_aliases_of_other_interpreters(script):
    done = script(
        """
        import subprocess, sys
        code = "import multiprocessing as m, multiprocessing.pool as p; print(m.__name__, p.__name__)"
        print(subprocess.check_output([sys.executable, "-c", code], text=True), end="")
        """
    )
    assert (done.out, done.err) == ("kinfolk kinfolk.pool\n", "")


PROGRAM = """
import multiprocessing, sys

def double(x):
    return 2 * x

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(double, [1, 2]) == [2, 4]
    print(__name__, sys.argv, multiprocessing.__name__)
"""


@pytest.mark.parametrize("form", ["script", "module", "folder", "code", "stdin"])
def test_forms_of_the_command(tmp_path, form):
    (tmp_path / "program.py").write_text(PROGRAM)
    source = None
    if form == "script":
        words, argv0 = ["program.py"], "program.py"
    elif form == "module":
        words, argv0 = ["-m", "program"], str(tmp_path / "program.py")
    elif form == "folder":
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "__main__.py").write_text(
            "import multiprocessing, program, sys\n"
            "if __name__ == '__main__':\n"
            "    with multiprocessing.Pool(2) as pool:\n"
            "        assert pool.map(program.double, [1, 2]) == [2, 4]\n"
            "    print(__name__, sys.argv, multiprocessing.__name__)\n"
        )
        (tmp_path / "app" / "program.py").write_text(PROGRAM)
        words, argv0 = ["app"], "app"
    elif form == "code":
        words, argv0 = ["-c", PROGRAM], "-c"
    else:
        words, argv0, source = ["-"], "-", PROGRAM
    done = subprocess.run(
        [sys.executable, "-m", "kinfolk", *words, "x", "-y"],
        input=source,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout == f"__main__ {[argv0, 'x', '-y']} kinfolk\n", done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("compiled", [False, True])
def test_a_script_knows_its_file(tmp_path, compiled):
    """As under the interpreter: an absolute path, also where a traceback names it."""
    path = tmp_path / "script.py"
    path.write_text(
        "import inspect, os, sys\n"
        "os.chdir('/')\n"
        "print(os.path.isfile(__file__), sys.argv, __loader__.path == __file__)\n"
        "def fail(): raise ValueError\n"
        "print(inspect.getsourcelines(fail)[1])\n"
        "fail()\n"
    )
    name = "script.py"
    if compiled:
        name = "script.pyc"
        py_compile.compile(str(path), str(tmp_path / name))
    outputs = []
    for words in ([sys.executable], [sys.executable, "-m", "kinfolk"]):
        done = subprocess.run(
            [*words, name, "x"], capture_output=True, text=True, cwd=tmp_path, timeout=60
        )
        # The interpreter's own main has no frames above it.
        outputs.append((done.returncode, done.stdout, done.stderr.partition("script.py")[2]))
    assert outputs[0] == outputs[1]
    assert outputs[0][:2] == (1, f"True {[name, 'x']} True\n4\n")


@pytest.mark.parametrize(
    "words, told",
    [
        (["no such file.py"], "cannot read the script 'no such file.py'"),
        (["-m", "no_such_module"], "No module named no_such_module"),
        (["-m"], "-m needs an argument"),
        (["-z"], "unknown option -z"),
        ([], "usage:"),
    ],
)
def test_bad_commands(words, told):
    done = subprocess.run(
        [sys.executable, "-m", "kinfolk", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0 and told in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_functions_typed_at_a_prompt(method):
    typed = (
        "import kinfolk\n"
        "factor = 3\n"
        f"ctx = kinfolk.get_context({method!r})\n"
        "pool = ctx.Pool(2)\n"
        "def times(x): return x * factor\n"
        "\n"
        "pool.map(times, [1, 2])\n"
        "pool.map(lambda x: x + factor, [1, 2])\n"
        "pool.close(); pool.join()\n"
        "child = ctx.Process(target=lambda: print('child has', factor))\n"
        "child.start(); child.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-i", "-q"], input=typed, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:3] == ["[3, 6]", "[4, 5]", "child has 3"], done.stderr


def test_a_prompt_without_cloudpickle():
    typed = (
        "import sys; sys.modules['cloudpickle'] = None\n"
        "import kinfolk\n"
        "pool = kinfolk.get_context('spawn').Pool(1)\n"
        "def times(x): return x * 3\n"
        "\n"
        "pool.map(times, [1, 2])\n"
    )
    done = subprocess.run(
        [sys.executable, "-i", "-q"], input=typed, capture_output=True, text=True, timeout=60
    )
    assert "install the package cloudpickle" in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_executor(script, method):
    done = script(
        f"""
import concurrent.futures, multiprocessing, os

def square(x):
    return x * x

def leave(x):
    os._exit(3)

if __name__ == "__main__":
    ctx = multiprocessing.get_context({method!r})
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(8), chunksize=2)) == [x * x for x in range(8)]
        assert type(executor._call_queue).__mro__[1] is multiprocessing.queues.Queue
        try:
            executor.submit(leave, 1).result()
        except concurrent.futures.process.BrokenProcessPool:
            print("broken")
"""
    )
    assert (done.code, done.out, done.err) == (0, "broken\n", "")


SUBMODULES = ["", ".connection", ".heap", ".managers", ".pool", ".process", ".queues", ".reduction"]
SUBMODULES += [".shared_memory", ".sharedctypes", ".synchronize", ".util"]


@pytest.mark.parametrize("submodule", SUBMODULES)
def test_import_brings_nothing_more(submodule):
    """What the standard library's module imports, the extension, and nothing else."""

    def loaded(package):
        code = f"import {package}{submodule}, sys; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        return {name.replace("kinfolk", "multiprocessing", 1) for name in done.stdout.split()}

    more = loaded("kinfolk") - loaded("multiprocessing")
    assert more <= {"multiprocessing._core", "multiprocessing.synchronize"}
