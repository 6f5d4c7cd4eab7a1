"""CPython's own multiprocessing tests, for the start method that KINFOLK_CONFORMANCE names.

Runs as a script in an environment that tests/conformance/run makes: ``cases.py list`` prints
the names of all test classes, ``cases.py CLASS [TEST ...]`` runs one and prints a JSON line for each test.
"""

import json
import os
import sys
import unittest

from test import _test_multiprocessing, test_multiprocessing_main_handling

# The start method, and the package that multiprocessing is to mean.
METHOD, PACKAGE = os.environ["KINFOLK_CONFORMANCE"].split()
_test_multiprocessing.install_tests_in_module_dict(globals(), METHOD)

# How __main__ is found again: of scripts, modules, folders and zip files.
_name = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}[METHOD] + "CmdLineTest"
MainHandling = getattr(test_multiprocessing_main_handling, _name)


def _is_case(value):
    return isinstance(value, type) and issubclass(value, unittest.TestCase)


class _Result(unittest.TestResult):
    """Tells of each test as it ends."""

    def _tell(self, test, outcome, text=""):
        name = getattr(test, "_testMethodName", None) or str(test)
        line = {"test": name, "outcome": outcome, "text": text}
        sys.__stdout__.write("\n@" + json.dumps(line) + "\n")
        sys.__stdout__.flush()

    def addSuccess(self, test):
        self._tell(test, "pass")

    def addSkip(self, test, reason):
        self._tell(test, "skip", reason)

    def addExpectedFailure(self, test, error):
        self._tell(test, "pass")

    def addFailure(self, test, error):
        self._tell(test, "fail", self._exc_info_to_string(error, test))

    def addError(self, test, error):
        self._tell(test, "fail", self._exc_info_to_string(error, test))

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._tell(test, "fail", self._exc_info_to_string(error, test))


def main():
    if sys.argv[1] == "list":
        print(*sorted(name for name, value in globals().items() if _is_case(value)), sep="\n")
        return
    found = _test_multiprocessing.multiprocessing.__name__
    if found != PACKAGE:
        sys.exit(f"multiprocessing means {found} here, not {PACKAGE}")
    case = globals()[sys.argv[1]]
    names = sys.argv[2:] or unittest.defaultTestLoader.getTestCaseNames(case)
    suite = unittest.TestSuite(map(case, names))
    set_up, tear_down = globals().get("setUpModule"), globals().get("tearDownModule")
    set_up()
    try:
        # The suite itself calls setUpClass and tearDownClass; the module's are ours.
        globals()["setUpModule"] = globals()["tearDownModule"] = lambda: None
        suite.run(_Result())
    finally:
        tear_down()


if __name__ == "__main__":
    # Children find the classes under the module's own name.
    import cases

    cases.main()
