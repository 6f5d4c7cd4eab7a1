"""Runs scripts the way a user does: ``python3 -m kinfolk script.py`` in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "python")


class Finished:
    """What a script printed and how it ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


def run_command(command, timeout=60):
    """Run in a process group of its own, all of which is killed when the time is up."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        pytest.fail(f"did not end within {timeout} s\nstdout:\n{out}\nstderr:\n{err}")
    return Finished(child.returncode, out, err)


@pytest.fixture
def script(tmp_path):
    """script(source, *interpreter_options): run the source under ``-m kinfolk``."""

    def run(source, *options, timeout=60):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(source))
        return run_command([sys.executable, *options, "-m", "kinfolk", str(path)], timeout)

    return run


@pytest.fixture
def example():
    """example(name, *interpreter_options): run one of examples/python."""

    def run(name, *options):
        path = os.path.join(EXAMPLES, name)
        return run_command([sys.executable, *options, "-m", "kinfolk", path])

    return run
