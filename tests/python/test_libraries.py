"""Libraries of others, unmodified, on the package: real data, and the alias in force everywhere."""

import json
import subprocess
import sys
import textwrap

# In parent and workers: multiprocessing is the package.
CHECK = """
import multiprocessing, sys

def checked(value=None):
    assert multiprocessing is sys.modules["kinfolk"], multiprocessing
    return value
"""


def run(script, body):
    done = script(CHECK + textwrap.dedent(body), timeout=120)
    assert (done.code, done.out) == (0, "ok\n"), done.err
    return done


def test_numpy(script):
    run(
        script,
        """
        import numpy as np

        def normalise(image):
            checked()
            return (image - image.mean()) / image.std()

        def forward(queue, conn):
            checked()
            conn.send(queue.get() * 2)

        if __name__ == "__main__":
            images = [np.random.default_rng(i).random((200, 300)) for i in range(8)]
            with multiprocessing.Pool(2) as pool:
                done = pool.map(normalise, images)
                assert type(pool._engine.core).__module__ == "kinfolk._core"
            assert all(abs(a.mean()) < 1e-9 and abs(a.std() - 1) < 1e-9 for a in done)
            for method in ("fork", "spawn"):
                ctx = multiprocessing.get_context(method)
                queue, (a, b) = ctx.Queue(), ctx.Pipe()
                child = ctx.Process(target=forward, args=(queue, b))
                child.start()
                queue.put(images[0])
                assert (a.recv() == images[0] * 2).all()
                child.join()
            print("ok")
        """,
    )


def test_pandas(script):
    run(
        script,
        """
        import os
        import pandas as pd

        def total(part):
            checked()
            return part.groupby("kind")["size"].sum(), part.name.str.len().sum()

        if __name__ == "__main__":
            # Every file below the documentation's folder: names, suffixes and sizes.
            rows = [
                (name, os.path.splitext(name)[1], os.lstat(os.path.join(folder, name)).st_size)
                for folder, _, names in os.walk("/usr/share/doc")
                for name in names
            ]
            frame = pd.DataFrame(rows, columns=["name", "kind", "size"])
            assert len(frame) > 100
            step = len(frame) // 4 + 1
            parts = [frame[i : i + step] for i in range(0, len(frame), step)]
            with multiprocessing.Pool(2) as pool:
                done = pool.map(total, parts)
            sums = pd.concat([s for s, _ in done]).groupby(level=0).sum()
            assert sums.sort_index().equals(frame.groupby("kind")["size"].sum().sort_index())
            assert sum(n for _, n in done) == frame.name.str.len().sum()
            print("ok")
        """,
    )


def test_scikit_learn(script):
    run(
        script,
        """
        import warnings
        warnings.simplefilter("ignore")
        import joblib
        from sklearn.base import BaseEstimator
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score

        class Checking(LogisticRegression):
            def fit(self, X, y):
                checked()
                return super().fit(X, y)

        if __name__ == "__main__":
            X, y = load_digits(return_X_y=True)
            alone = cross_val_score(LogisticRegression(max_iter=20), X[:500], y[:500], cv=3)
            for backend in ("multiprocessing", "loky"):
                with joblib.parallel_backend(backend):
                    scores = cross_val_score(
                        Checking(max_iter=20), X[:500], y[:500], cv=3, n_jobs=2
                    )
                assert (scores == alone).all()
            print("ok")
        """,
    )


def test_joblib(script):
    run(
        script,
        """
        import os
        from joblib import Parallel, delayed

        def square(x):
            checked()
            return x * x, os.getpid(), type(multiprocessing.current_process()).__module__

        if __name__ == "__main__":
            done = Parallel(n_jobs=2, backend="multiprocessing")(
                delayed(square)(i) for i in range(20)
            )
            assert [value for value, _, _ in done] == [i * i for i in range(20)]
            assert os.getpid() not in {pid for _, pid, _ in done}
            assert {module for _, _, module in done} == {"kinfolk.context"}
            print("ok")
        """,
    )


def test_tqdm(script):
    done = run(
        script,
        """
        from tqdm import tqdm

        def square(x):
            return checked(x * x)

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                got = list(tqdm(pool.imap_unordered(square, range(50)), total=50))
            assert sorted(got) == [x * x for x in range(50)]
            print("ok")
        """,
    )
    assert "50/50" in done.err


def test_logging(script):
    run(
        script,
        """
        import logging, logging.handlers

        def work(queue, number):
            checked()
            logger = logging.getLogger("worker")
            logger.addHandler(logging.handlers.QueueHandler(queue))
            logger.setLevel(logging.INFO)
            logger.info("number %d", number)

        class Keep(logging.Handler):
            records = []

            def emit(self, record):
                self.records.append((record.processName, record.getMessage()))

        if __name__ == "__main__":
            queue = multiprocessing.Queue()
            listener = logging.handlers.QueueListener(queue, Keep())
            listener.start()
            children = [
                multiprocessing.Process(target=work, args=(queue, i), name=f"worker {i}")
                for i in range(4)
            ]
            for child in children:
                child.start()
            for child in children:
                child.join()
            listener.stop()
            assert sorted(Keep.records) == [(f"worker {i}", f"number {i}") for i in range(4)]
            print("ok")
        """,
    )


def test_notebook(tmp_path):
    """The five first programs in the cells of a notebook, run headless."""
    cells = [
        "import kinfolk; kinfolk.install()\nimport multiprocessing, sys\n"
        "assert multiprocessing is sys.modules['kinfolk']",
        "def worker():\n    print('Worker process')\n"
        "p = multiprocessing.Process(target=worker); p.start(); p.join(); print('Main process')",
        "def greet(name):\n    print(f'Hello, {name}!')\n"
        "p = multiprocessing.Process(target=greet, args=('Alice',)); p.start(); p.join()",
        "def twice(x):\n    return x * 2\n"
        "pool = multiprocessing.Pool(3)\nresults = pool.map(twice, [1, 2, 3, 4, 5])\n"
        "pool.close(); pool.join(); print('Results:', results)",
        "with multiprocessing.get_context('spawn').Pool(5) as pool:\n"
        "    print(pool.map(lambda x: x * 2, [1, 2, 3, 4, 5]))",
        "def number(n):\n    print(n)\n"
        "ps = [multiprocessing.Process(target=number, args=(i,)) for i in range(1, 5)]\n"
        "for p in ps: p.start()\nfor p in ps: p.join()",
    ]
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"c{i}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": cell,
            }
            for i, cell in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = tmp_path / "first.ipynb"
    path.write_text(json.dumps(notebook))
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute",
         "--ExecutePreprocessor.timeout=60", "--output", "done.ipynb", str(path)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = [
        "".join("".join(out.get("text", "")) for out in cell["outputs"])
        for cell in json.loads((tmp_path / "done.ipynb").read_text())["cells"]
    ]
    assert printed[1] == "Worker process\nMain process\n"
    assert printed[2] == "Hello, Alice!\n"
    assert printed[3] == "Results: [2, 4, 6, 8, 10]\n"
    assert printed[4] == "[2, 4, 6, 8, 10]\n"
    # The kernel's own stream writes a line's end by itself: lines of processes may mix there.
    assert sorted(printed[5].replace("\n", "")) == ["1", "2", "3", "4"]
