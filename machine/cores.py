"""Processors that this process may use: by its affinity, the limits of its control groups, and its batch system.

A container sees all 64 processors of a machine, but its control group may grant it the time of two. A task of Slurm
counts the processors that it requested, even on clusters that do not enforce the limit. loky's `cpu_count` reads the
root control group only, and not Slurm's variables.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return the number of processors this process may use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *_limits(os.environ)]))


def _limits(environment: Mapping[str, str]) -> Iterator[int]:
    """Yield the limits beside the affinity, in processors."""
    text = environment.get("SLURM_CPUS_PER_TASK", "")
    if text.isdecimal():
        yield int(text)
    # Rounded up: with 1.5 processors, a second thread still gains time.
    yield from map(math.ceil, quotas())


def control_groups(controller: str, root: Path = CGROUPS, own: Path = OWN_GROUPS) -> Iterator[Path]:
    """Yield the folders of this process's control groups and their parents, once each, in any order.

    Covers version 2 and one controller of version 1. The root is included, since a container sees its group there.
    """
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base = root
        elif controller in controllers.split(","):
            base = root / controller if (root / controller).is_dir() else root / controllers
        else:
            continue
        yield from {base.joinpath(*Path(path).parts[1:end]) for end in range(1, len(Path(path).parts) + 1)}


def quotas(root: Path = CGROUPS, own: Path = OWN_GROUPS) -> Iterator[float]:
    """Yield the quota of each limited control group of this process, in processors.

    Version 2 stores it in cpu.max, version 1 in cpu.cfs_quota_us and cpu.cfs_period_us.
    """
    for folder in control_groups("cpu", root, own):
        quota, period = _quota_of(folder)
        if quota > 0 and period > 0:
            yield quota / period


def _quota_of(folder: Path) -> tuple[int, int]:
    """Return the processor time of a group and its period, in microseconds; 0 or less without a limit."""
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [*_read(folder / "cpu.cfs_quota_us").split(), *_read(folder / "cpu.cfs_period_us").split()]
    try:
        quota, period = words
        return int(quota), int(period)
    except ValueError:  # "max 100000", or no such file
        return 0, 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
