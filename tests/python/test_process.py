"""Process: life, death, identity and what children inherit."""


def test_exit_codes(script):
    done = script(
        """
        import multiprocessing, os, signal, sys, time

        def returns(): pass
        def exits(): sys.exit(7)
        def exits_with_text(): sys.exit("no")
        def raises(): raise ValueError("told you")
        def dies(): os.kill(os.getpid(), signal.SIGKILL)
        def leaves(): os._exit(9)

        if __name__ == "__main__":
            for target in returns, exits, exits_with_text, raises, dies, leaves:
                p = multiprocessing.Process(target=target)
                p.start()
                p.join()
                print(target.__name__, p.exitcode)
        """
    )
    assert done.out.split() == (
        "returns 0 exits 7 exits_with_text 1 raises 1 dies -9 leaves 9".split()
    )
    assert "ValueError: told you" in done.err and "Process Process-4:" in done.err


def test_life_of_a_process(script):
    done = script(
        """
        import multiprocessing, select, time

        def sleep(): time.sleep(60)

        if __name__ == "__main__":
            p = multiprocessing.Process(target=sleep, name="sleeper", daemon=True)
            assert p.pid is None and p.exitcode is None and not p.is_alive() and p.daemon
            p.start()
            assert p.is_alive() and p.pid > 0 and p.exitcode is None
            assert multiprocessing.active_children() == [p]
            p.join(0.05)
            assert p.is_alive() and select.select([p.sentinel], [], [], 0)[0] == []
            try:
                p.close()
            except ValueError as error:
                assert "still running" in str(error)
            try:
                p.start()
            except AssertionError as error:
                assert "twice" in str(error)
            p.terminate()
            assert select.select([p.sentinel], [], [], 30)[0] != []
            p.join()
            assert p.exitcode == -15 and multiprocessing.active_children() == []
            p.close()
            try:
                p.join()
            except ValueError as error:
                print("closed:", error)
        """
    )
    assert (done.code, done.out, done.err) == (0, "closed: process object is closed\n", "")


def test_close_while_other_threads_join(script):
    done = script(
        """
        import multiprocessing, threading

        def nothing():
            pass

        def join(popen):
            try:
                if popen.wait() != 0:
                    print(popen.returncode)
            except ValueError as error:
                print(error)

        if __name__ == "__main__":
            for _ in range(100):
                process = multiprocessing.Process(target=nothing)
                process.start()
                threads = [
                    threading.Thread(target=join, args=(process._popen,)) for _ in range(3)
                ]
                for thread in threads:
                    thread.start()
                while process.exitcode is None:
                    pass
                process.close()
                for thread in threads:
                    thread.join()
            print("done")
        """
    )
    assert (done.code, done.out, done.err) == (0, "done\n", "")


def test_identity(script):
    done = script(
        """
        import multiprocessing, os

        class Child(multiprocessing.Process):
            def run(self):
                me, parent = multiprocessing.current_process(), multiprocessing.parent_process()
                assert me is self and me.pid == os.getpid() and me.is_alive()
                assert parent.pid == os.getppid() and parent.is_alive()
                print(me.name, parent.name)
                if not me.name.count(":"):
                    grandchild = Child()
                    grandchild.start()
                    grandchild.join()

        if __name__ == "__main__":
            assert multiprocessing.parent_process() is None
            assert multiprocessing.current_process().name == "MainProcess"
            child = Child()
            child.start()
            child.join()
            assert child.exitcode == 0
        """
    )
    assert (done.code, done.out.splitlines(), done.err) == (
        0,
        ["Child-1 MainProcess", "Child-1:1 Child-1"],
        "",
    )


def test_exit_waits_for_children_and_ends_daemons(script):
    done = script(
        """
        import multiprocessing, time

        def slow():
            time.sleep(0.3)
            print("slow is done")

        def endless():
            time.sleep(600)

        if __name__ == "__main__":
            multiprocessing.Process(target=endless, daemon=True).start()
            multiprocessing.Process(target=slow).start()
            print("main is done")
        """,
        timeout=30,
    )
    assert (done.code, done.out, done.err) == (0, "main is done\nslow is done\n", "")


def test_interrupt_reaches_a_joining_parent(script):
    done = script(
        """
        import multiprocessing, os, signal, threading, time

        def endless():
            time.sleep(600)

        if __name__ == "__main__":
            p = multiprocessing.Process(target=endless, daemon=True)
            p.start()
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                p.join()
            except KeyboardInterrupt:
                print("interrupted", p.is_alive())
        """,
        timeout=30,
    )
    assert (done.code, done.out) == (0, "interrupted True\n")


def test_standard_package_is_never_loaded(script):
    done = script(
        """
        import multiprocessing, multiprocessing.pool, os, sys

        def loaded(_=None):
            import multiprocessing.process
            files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
            standard = os.path.join(os.path.dirname(os.__file__), "multiprocessing")
            with open("/proc/self/maps") as maps:
                mapped = [line for line in maps if "_multiprocessing" in line]
            return [f for f in files if f.startswith(standard)] + mapped

        def child():
            print(loaded())

        if __name__ == "__main__":
            assert multiprocessing.__name__ == "kinfolk"
            p = multiprocessing.Process(target=child)
            p.start()
            p.join()
            with multiprocessing.Pool(2) as pool:
                print(sum(pool.map(loaded, range(4)), []))
            print(loaded())
        """
    )
    assert (done.code, done.out, done.err) == (0, "[]\n[]\n[]\n", "")


def test_unknown_submodule_is_not_the_standard_one(script):
    done = script("import multiprocessing.no_such_module")
    assert done.code == 1 and "No module named 'multiprocessing.no_such_module'" in done.err
