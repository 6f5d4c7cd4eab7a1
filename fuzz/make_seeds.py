#!/usr/bin/env python3
"""make_seeds FOLDER: writes the first inputs of each fuzz target to FOLDER/TARGET/.

Each is a run of a target's steps (see the target's file) that leads into some part of what it
reads; the fuzzer does the rest. fuzz/run starts a target on these and on its corpus.
"""

import pathlib
import struct
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent


def stream():
    """kind, then steps: 0 bytes, 2 message, 3 header alone, 4 recv, 8 skip, 10 fds, 11 recv_fds."""
    for kind in range(16):
        start = bytes([kind])
        yield start + bytes([2, 5, 5]) + b"hello" + bytes([4, 10])
        yield start + bytes([2, 5, 2]) + b"he" + bytes([7, 4, 10, 4, 10, 8, 0, 3]) + b"llo" + bytes([8])
        yield start + bytes([2, 5, 2]) + b"he" + bytes([0x84, 10, 12, 13, 14 | 64, 4, 10])
        yield start + bytes([2, 0, 0, 7, 9, 4, 0, 14 | 64, 9, 4, 0])
        yield start + bytes([2, 100, 100]) + bytes(100) + bytes([4, 1, 6])
        yield start + bytes([10, 2, 11, 2, 10, 0, 11, 0, 15 | 64, 11, 0])
        yield start + bytes([0, 2, 0, 0, 11, 0, 0, 1, 9, 11, 0])
        yield start + bytes([3]) + struct.pack("<Q", 1 << 33) + bytes([8, 6, 7])
        yield start + bytes([0, 12]) + b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes([4, 9, 4, 9])
        yield start + bytes([0, 4]) + b"\x80\0\0\0" + bytes([4, 9])
        yield start + bytes([0, 2, 0, 0, 4, 9, 14 | 64, 4, 9])
        yield start + bytes([12 | 64, 4, 9])
        yield start + bytes([2, 9, 3]) + b"abc" + bytes([12 | 64, 4, 20, 9, 4, 20])
        yield start + bytes([2, 9, 3]) + b"abc" + bytes([4, 20, 8, 15 | 64, 4, 20])


def handshake():
    """keys and roles, then steps {to : 1, how : 2}: 0 as it is, 1 a bit, 2 bytes, 3 a proof."""
    honest = bytes([0, 1, 0, 1, 0, 1])
    for start in range(8):
        yield bytes([start]) + honest
        yield bytes([start]) + bytes([1, 0, 1, 0, 1, 0])
        yield bytes([start]) + bytes([3, 20, 1]) + honest
        for digest in (0, 1, 2, 3, 4, 16):
            yield bytes([start]) + bytes([6, digest, 7, digest, 0, 1, 0, 1])
        for text in (b"#CHALLENGE#" + bytes(20), b"#WELCOME#", b"#FAILURE#", b"{sha256}" + bytes(32),
                     b"#CHALLENGE#{sha3_256}" + bytes(40), b"#CHALLENGE#{none}" + bytes(40), bytes(16)):
            for to in (4, 5):
                yield bytes([start, to]) + struct.pack("<H", len(text)) + text + honest


def message():
    """128 | what the message says; its parent, descriptors, names, argument; then changes."""
    for how in range(0, 64, 3):
        yield bytes([128 | how, 1, how % 4, 5, 3]) + b"abc" + bytes([2]) + b"id" + bytes(8)
        yield bytes([128 | 64 | how, 1, 2, 9, 0, 0]) + struct.pack("<HB", how * 8, how) + b"\x10\x02"
    for at in range(0, 120, 4):
        yield bytes([128, 1, 3, 9, 0, 0]) + struct.pack("<HB", at, 0xff) + bytes([7, 1, 3, 14])
    head = struct.pack("<IIIIQ", 6, 5, 20, 0, 4096)
    yield bytes([0]) + head + b"fuzzed" + b"/a.so" + bytes(20)
    yield bytes([0]) + head


SPOIL = {
    "queue": (range(0, 40), bytes([5, 44, 1, 6, 8] + [9] * 9 + [9, 100, 0, 10, 11, 12, 13, 4, 6, 14, 15])),
    "dict": (range(0, 56), bytes([12, 3, 2, 1, 12, 9, 0, 12, 6, 7, 3, 2, 8, 9, 10, 5, 12, 4, 4, 5, 7, 11])),
    "list": (range(0, 48), bytes([12, 3, 3, 3, 0, 12, 9, 1, 5, 1, 7, 8, 9, 5, 10, 48, 12, 2, 4, 6, 6, 11])),
    "pool": (range(0, 56), bytes([4, 9, 12, 9, 5, 6, 7])),
}


def spoilt(name):
    """A change to shared memory, then a run over the operations."""
    hows, steps = SPOIL[name]
    for first in (b"\0", b"\1") if name == "queue" else (b"",):
        yield first + steps
        yield first + bytes([4 if name == "queue" else 5]) + steps
        for step in range(16):
            yield first + bytes([step, 200, step * 3, 1, 2, 3]) * 4
            yield first + bytes([step, 40, 8 * step + step % 8, step, 2, 1]) * 4
        for fail in range(1, 24) if name != "pool" else ():
            yield first + bytes([0xe0 + fail]) + steps
            yield first + steps[:12] + bytes([0xe0 + fail]) + steps
        yield first + bytes([0xdf])
        for how in hows:
            for at in range(0, 24, 2):
                yield first + bytes([0, how]) + struct.pack("<H", at) + bytes([at, 2, 1, 0]) + steps


def ring():
    """0 reserve, 2 publish, 3 read, 5 release, 6 a record's head, 7 a position."""
    yield bytes([0, 100, 0, 2, 3, 5] * 12)
    yield bytes([0, 200, 1, 0, 200, 1, 2, 3, 3, 5, 0, 144, 1, 2, 3, 3])
    yield bytes([0, 100, 0, 2, 6, 0]) + struct.pack("<II", 4000, 2) + bytes([3])
    yield bytes([7 | 8, 4, 6, 0]) + struct.pack("<II", 0xffffffff, 2) + bytes([3, 3, 3])
    yield bytes([7 | 24]) + bytes([255] * 8) + bytes([3, 7 | 16]) + bytes([9] * 8) + bytes([0, 100, 0] * 9)


def cpu():
    """The recorded machines, without the files that nobody reads."""
    unread = ("_mask", "core_cpus\n", "siblings\n", "core_id\n", "cpus\n", "_list\n")
    for fail in range(1, 8):
        yield bytes([0xe0 + fail]) + b"== sys/devices/system/cpu/online\n0-1\n"
    yield struct.pack("<8h", 0, 3, 4, 5, -1, 4095, 3, 1023)
    yield struct.pack("<40h", *range(100, 900, 20))
    for path in sorted((TOP / "tests/cpu/trees").glob("*.tree")):
        files = path.read_text().split("== ")[1:]
        keep = [f for f in files if not f.split("\n")[0].endswith(tuple(u.strip() for u in unread[:5]))
                and "/cpu" not in f.split("\n")[0].replace("/cpu/cpu0/", "/").replace("/cpu/cpu1/", "/")
                .replace("system/cpu/", "")]
        yield "".join("== " + f for f in keep).encode()
    yield (b"== sys/devices/system/cpu/online\n0-1\n== sys/devices/system/cpu/cpu0/cpu_capacity\n512\n"
           b"== sys/devices/system/cpu/cpu1/cpu_capacity\n1024\n== sys/devices/system/node/online\n0-1\n"
           b"== sys/devices/system/node/node1/cpulist\n1\n== sys/devices/cpu_core/cpus\n0\n"
           b"== sys/devices/cpu_atom/cpus\n1\n"
           b"== sys/devices/system/cpu/cpu0/topology/core_cpus_list\n0-1\n"
           b"== sys/devices/system/cpu/cpu1/topology/thread_siblings_list\n0,1\n"
           b"== sys/devices/system/cpu/cpu1/topology/physical_package_id\n1\n")
    yield (b"== proc/self/cgroup\n4:cpu,cpuacct:/a/b\n3:cpuset:/a\n0::/x/y\n== proc/self/mountinfo\n"
           b"30 23 0:26 / /c\\040u rw - cgroup cgroup rw,cpu,cpuacct\n"
           b"31 23 0:27 / /s rw - cgroup cgroup rw,cpuset\n32 23 0:28 /x /u rw - cgroup2 cgroup2 rw\n"
           b"== u/y/cpu.max\n150000 100000\n== u/cpu.max\nmax 100000\n== u/cpuset.cpus.effective\n0-3\n"
           b"== c u/a/cpu.cfs_quota_us\n50000\n== c u/a/cpu.cfs_period_us\n100000\n"
           b"== s/cpuset.cpus\n1-2\n== sys/devices/system/cpu/online\n0-7\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    targets = {f.__name__: f for f in (stream, handshake, message, ring, cpu)}
    for name in SPOIL:
        targets[name] = lambda name=name: spoilt(name)
    for name, make in targets.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(make()):
            (folder / name / f"seed-{number:04}").write_bytes(seed)


if __name__ == "__main__":
    main()
