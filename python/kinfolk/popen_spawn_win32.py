"""Not on Linux: here for programs that ask whether it is."""

raise ImportError("kinfolk.popen_spawn_win32 is for Windows, which this package does not run on")
