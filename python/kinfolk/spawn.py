"""Children in fresh interpreters: what they execute, and how they become what was started."""

import io
import os
import pickle
import signal
import sys
import types

from kinfolk import _core, process, util
from kinfolk.context import get_spawning_popen, set_spawning_popen

__all__ = ["freeze_support", "get_executable", "get_preparation_data", "set_executable"]

WINEXE = False

_executable = sys.executable

# The folder in which a child finds this package before it has been told its parent's path.
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Modules that were __main__ before the parent's became it.
old_main_modules = []


def set_executable(exe):
    """The interpreter that children execute; str, bytes or path."""
    global _executable
    _executable = None if exe is None else os.fsdecode(exe)


def get_executable():
    """The interpreter that children execute."""
    return _executable


def is_forking(argv):
    """Whether ``argv`` is that of a child in a frozen executable."""
    return len(argv) >= 2 and argv[-2] == _core.CHILD_ARGUMENT


def freeze_support():
    """In a child of a frozen executable: be the child, and do not return."""
    if is_forking(sys.argv):
        spawn_main()


def _python_command(code):
    """The words that run ``code`` in an interpreter like this one."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    if _executable is None:
        raise ValueError(
            "there is no interpreter to start: sys.executable is not set; call set_executable"
        )
    options = util._args_from_interpreter_flags()
    # Neither the working directory nor a flag keeps it from finding this very package.
    path = f"import sys; sys.path[:] = [p for p in sys.path if p] + [{_HOME!r}]"
    return [_executable, *options, "-c", f"{path}; {code}"]


def get_command_line(**kwds):
    """The words that start a child; the library appends two more, which name its message."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in kwds.items())
    return _python_command(f"from kinfolk.spawn import spawn_main; spawn_main({arguments})")


def spawn_main(**ignored):
    """What a child executes: becomes the child that the message describes; does not return."""
    if not is_forking(sys.argv):
        raise AssertionError("Not forking")
    _core.child_main([os.fsencode(word) for word in sys.argv[-2:]])


# --- what a child is told --------------------------------------------------------------------


def _check_not_importing_main():
    if getattr(process.current_process(), "_inheriting", False):
        raise RuntimeError(
            """
        An attempt has been made to start a new process before the
        current process has finished its bootstrapping phase.

        This probably means that you are not using fork to start your
        child processes and you have forgotten to use the proper idiom
        in the main module:

            if __name__ == '__main__':
                freeze_support()
                ...

        The "freeze_support()" line can be omitted if the program
        is not going to be frozen to produce an executable.

        See the documentation of multiprocessing: "The spawn and
        forkserver start methods", "Safe importing of main module"."""
        )


def get_preparation_data(name):
    """What a child of that name needs to know before it can unpickle anything: a dict."""
    _check_not_importing_main()
    current = process.current_process()
    data = {
        "log_to_stderr": util._log_to_stderr,
        "authkey": bytes(current.authkey),
        "name": name,
        "sys_path": [process.ORIGINAL_DIR if p == "" and process.ORIGINAL_DIR else p
                     for p in sys.path],
        "sys_argv": sys.argv,
        "orig_dir": process.ORIGINAL_DIR,
        "dir": os.getcwd(),
        "start_method": _start_method(),
        "parent_name": current.name,
        "parent_pid": os.getpid(),
        "alias": "kinfolk._alias" in sys.modules and sys.modules["kinfolk._alias"].is_installed(),
    }
    if util._logger is not None:
        data["log_level"] = util._logger.getEffectiveLevel()
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    path = getattr(main, "__file__", None)
    if name is not None:
        data["init_main_from_name"] = name
    elif path is not None and path[:1] != "<":
        if not os.path.isabs(path) and process.ORIGINAL_DIR is not None:
            path = os.path.join(process.ORIGINAL_DIR, path)
        data["init_main_from_path"] = os.path.normpath(path)
    return data


def _start_method():
    from kinfolk import context

    return context._default_context.get_start_method()


def prepare(data):
    """Make this process resemble its parent as the preparation data says."""
    if "name" in data:
        process.current_process().name = data["name"]
    if "authkey" in data:
        process.current_process().authkey = data["authkey"]
    if data.get("log_to_stderr"):
        util.log_to_stderr()
    if "log_level" in data:
        util.get_logger().setLevel(data["log_level"])
    if "sys_path" in data:
        sys.path = data["sys_path"]
    if "sys_argv" in data:
        sys.argv = data["sys_argv"]
    if "dir" in data:
        os.chdir(data["dir"])
    if "orig_dir" in data:
        process.ORIGINAL_DIR = data["orig_dir"]
    if "start_method" in data:
        from kinfolk import context

        context._default_context.set_start_method(data["start_method"], force=True)
    if "init_main_from_name" in data:
        _fixup_main_from_name(data["init_main_from_name"])
    elif "init_main_from_path" in data:
        _fixup_main_from_path(data["init_main_from_path"])


# --- the parent's __main__ -------------------------------------------------------------------


def _become_main(contents):
    """``contents``: the globals of the parent's main module, run as ``__mp_main__``."""
    old_main_modules.append(sys.modules["__main__"])
    main = types.ModuleType("__mp_main__")
    main.__dict__.update(contents)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main


def _fixup_main_from_name(name):
    current = sys.modules["__main__"]
    # The file of `python -m package` guards itself against nothing: it runs when it is imported.
    if name == "__main__" or name.endswith(".__main__"):
        return
    if getattr(current.__spec__, "name", None) == name:
        return  # a fork server has imported it
    import runpy

    _become_main(runpy.run_module(name, run_name="__mp_main__", alter_sys=True))


def _fixup_main_from_path(path):
    current = sys.modules["__main__"]
    name = os.path.splitext(os.path.basename(path))[0]
    # IPython's main script must not run again; it has nothing that functions would need.
    if name == "ipython":
        return
    if getattr(current, "__file__", None) == path:
        return
    import runpy

    _become_main(runpy.run_path(path, run_name="__mp_main__"))


def import_main_path(main_path):
    """Import the parent's main script as ``__mp_main__``."""
    _fixup_main_from_path(main_path)


# --- the message -----------------------------------------------------------------------------


def _pack(process_obj, tracker_fd):
    """The bytes that a child gets: two pickles, the preparation data and the process object."""
    from kinfolk import context

    file = io.BytesIO()
    data = get_preparation_data(process_obj._name)
    data["tracker_fd"] = tracker_fd
    data["method"] = get_spawning_popen().method
    pickle.dump(data, file)
    context.reduction.dump(process_obj, file)
    return file.getbuffer()


def _main(data):
    """In a child: prepare, unpickle the process object and run it. Returns the exit code.

    ``data``: what ``_pack`` made, a bytes-like object.
    """
    file = io.BytesIO(data)
    process.current_process()._inheriting = True
    try:
        preparation = pickle.load(file)
        if preparation["method"] == "forkserver":
            # The server has it blocked: see ForkServer._use.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if preparation.get("alias"):
            from kinfolk import _alias

            _alias.install()
        from kinfolk import resource_tracker

        resource_tracker._resource_tracker._fd = preparation["tracker_fd"]
        prepare(preparation)
        self = pickle.load(file)
    finally:
        del process.current_process()._inheriting
    return self._bootstrap()


def _run_child(data):
    """Called by ``_core.child_main`` in a child; returns the exit code."""
    try:
        return _main(data)
    except SystemExit as error:
        return process._exit_code(error)
    except BaseException as error:
        import traceback

        from kinfolk import reduction

        if isinstance(error, AttributeError):
            reduction.explain(error)

        traceback.print_exc()
        return 1
    finally:
        util._flush_std_streams()
