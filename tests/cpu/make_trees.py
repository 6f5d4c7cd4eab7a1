#!/usr/bin/env python3
"""Writes tests/cpu/trees/*.tree: the parts of /proc/self and /sys of machines that we do not have.

A tree is a text file: a line "== PATH" begins a file, the lines after it are its contents. The
layouts are those of real machines (their CPU numbering, siblings, speeds and group paths); only
the files that the readers and hwloc look at are there.
"""
import os

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trees")


def mask(cpus, width):
    """A bit mask as the kernel prints it: hex words of 32 bits, most significant first."""
    value = sum(1 << c for c in cpus)
    words = [f"{value >> (32 * i) & 0xffffffff:08x}" for i in range((width + 31) // 32)]
    return ",".join(reversed(words))


def ranges(cpus):
    """A CPU list as the kernel prints it."""
    parts, cpus = [], sorted(cpus)
    while cpus:
        last = cpus[0]
        while last + 1 in cpus:
            last += 1
        parts.append(f"{cpus[0]}-{last}" if last > cpus[0] else f"{last}")
        cpus = [c for c in cpus if c > last]
    return ",".join(parts)


def machine(cores, nodes=1, capacity=None, frequency=None):
    """`cores`: (package, node, threads) of each core; returns the files of /sys."""
    files, everyone = {}, sorted(c for _, _, threads in cores for c in threads)
    n = max(everyone) + 1
    cpu = "sys/devices/system/cpu"
    for name in ("online", "possible", "present"):
        files[f"{cpu}/{name}"] = ranges(everyone)
    for index, (package, _, threads) in enumerate(cores):
        siblings = [c for p, _, t in cores if p == package for c in t]
        for c in threads:
            at = f"{cpu}/cpu{c}"
            files[f"{at}/topology/physical_package_id"] = str(package)
            files[f"{at}/topology/core_id"] = str(index)
            for name in ("core_cpus", "thread_siblings"):
                files[f"{at}/topology/{name}"] = mask(threads, n)
                files[f"{at}/topology/{name}_list"] = ranges(threads)
            for name in ("package_cpus", "core_siblings"):
                files[f"{at}/topology/{name}"] = mask(siblings, n)
                files[f"{at}/topology/{name}_list"] = ranges(siblings)
            if capacity:
                files[f"{at}/cpu_capacity"] = str(capacity(c))
            if frequency:
                files[f"{at}/cpufreq/cpuinfo_max_freq"] = str(frequency(c))
    node = "sys/devices/system/node"
    for name in ("online", "possible", "has_memory", "has_cpu"):
        files[f"{node}/{name}"] = ranges(range(nodes))
    for k in range(nodes):
        members = [c for _, o, t in cores if o == k for c in t]
        files[f"{node}/node{k}/cpulist"] = ranges(members)
        files[f"{node}/node{k}/cpumap"] = mask(members, n)
        files[f"{node}/node{k}/meminfo"] = f"Node {k} MemTotal: 16384000 kB"
        files[f"{node}/node{k}/distance"] = " ".join("10" if i == k else "21" for i in range(nodes))
    return files


V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "{id} 30 0:{id} {root} /sys/fs/cgroup/{folder} rw,relatime shared:9 - cgroup cgroup rw,{controllers}"
OTHER = ["22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
         "23 22 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw"]


def groups(lines, mounts, files):
    """/proc/self and the groups' files."""
    out = {"proc/self/cgroup": "\n".join(lines), "proc/self/mountinfo": "\n".join(OTHER + mounts)}
    out.update({f"sys/fs/cgroup/{k}": v for k, v in files.items()})
    return out


def write(name, *parts):
    """One tree of the files in `parts`."""
    with open(os.path.join(HERE, name + ".tree"), "w", encoding="ascii") as f:
        for part in parts:
            for path, text in part.items():
                f.write(f"== {path}\n{text}\n")


def plain(n, **more):
    """n cores of one thread."""
    return machine([(0, 0, [c]) for c in range(n)], **more)


def v1(folder, controllers, root="/", number=40):
    """A version 1 mount."""
    return V1.format(id=number, root=root, folder=folder, controllers=controllers)


ROOT2 = V2.format(root="/")

# A laptop: four P cores of two threads (0-7), eight E cores (8-15); Linux 6.8, no cpu_capacity.
write("hybrid",
      machine([(0, 0, [2 * i, 2 * i + 1]) for i in range(4)] + [(0, 0, [c]) for c in range(8, 16)],
              frequency=lambda c: 5200000 if c < 8 else 3900000),
      {"sys/devices/cpu_core/cpus": "0-7", "sys/devices/cpu_atom/cpus": "8-15"},
      groups(["0::/user.slice"], [ROOT2], {"user.slice/cpu.max": "max 100000"}))

# A phone-like board: little cores 0-3, big ones 4-6, a prime one 7.
write("biglittle",
      plain(8, capacity=lambda c: 325 if c < 4 else 828 if c < 7 else 1024),
      groups(["0::/"], [ROOT2], {}))

# A server: two packages of four cores of two threads, a node each; siblings are c and c + 8.
write("numa",
      machine([(c // 4, c // 4, [c, c + 8]) for c in range(8)], nodes=2,
              frequency=lambda c: 3500000),
      groups(["0::/batch"], [ROOT2], {"batch/cpuset.cpus.effective": "2-5,10-13"}))

# Version 2, nested: the middle group's 2.5 CPUs bind, not the inner one's 6.
write("v2-nested", plain(16),
      groups(["0::/site/team/job"], [ROOT2],
             {"site/cpu.max": "800000 100000", "site/team/cpu.max": "250000 100000",
              "site/team/job/cpu.max": "300000 50000", "site/team/other/cpu.max": "10000 100000",
              "site/cpuset.cpus.effective": "0-11"}))

# Version 2 in a container with a group namespace: the mount is the container's own group.
write("v2-container", plain(8),
      groups(["0::/"], [ROOT2], {"cpu.max": "10000 100000", "cpuset.cpus.effective": "0-7"}))

# Version 2, a group outside of the mount.
write("v2-outside", plain(8),
      groups(["0::/../sibling"], [ROOT2], {"cpu.max": "320000 100000"}))

# Version 1, nested, controllers together; the outer group binds with 1.5 CPUs; cpuset of three.
write("v1-nested", plain(8),
      groups(["12:cpuset:/batch/a", "4:cpu,cpuacct:/batch/a", "1:name=systemd:/init.scope"],
             [v1("cpu,cpuacct", "cpu,cpuacct"), v1("cpuset", "cpuset", number=41)],
             {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000",
              "cpu,cpuacct/batch/cpu.cfs_quota_us": "75000",
              "cpu,cpuacct/batch/cpu.cfs_period_us": "50000",
              "cpu,cpuacct/batch/a/cpu.cfs_quota_us": "400000",
              "cpu,cpuacct/batch/a/cpu.cfs_period_us": "100000",
              "cpuset/cpuset.effective_cpus": "0-7", "cpuset/batch/cpuset.effective_cpus": "1-6",
              "cpuset/batch/a/cpuset.cpus": "3-5", "cpuset/batch/a/cpuset.effective_cpus": "3-5"}))

# Version 1 in a container without a group namespace: the mount shows the container's group, the
# path is the host's; a mount point with a blank in it.
write("v1-container", plain(8),
      groups(["5:cpu:/docker/f00", "3:cpuset:/docker/f00"],
             [v1("cpu\\040x", "cpu", "/docker/f00"), v1("cpuset", "cpuset", "/docker/f00", 41)],
             {"cpu x/cpu.cfs_quota_us": "350001", "cpu x/cpu.cfs_period_us": "100000",
              "cpuset/cpuset.effective_cpus": "0-5"}))

# Both versions at once, as systemd's hybrid mode has them: version 1 binds.
write("both", plain(8),
      groups(["4:cpu:/x", "0::/x"],
             [v1("cpu", "cpu"), "42 30 0:42 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"],
             {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000",
              "unified/x/cpu.max": "700000 100000"}))

# Nothing but a list of CPUs: no topology, no groups.
write("bare", {"sys/devices/system/cpu/online": "0-3"})
