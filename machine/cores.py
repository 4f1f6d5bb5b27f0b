"""How many processors this process may use: by its affinity, the limits of its control groups, and its batch system.

A container or a service may have the time of two processors on a machine of sixty-four, all of which it sees; a task
of Slurm has what was asked for, whether or not anything holds it to that.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OF_THIS_PROCESS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return the number of processors this process may use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *_limits(os.environ)]))


def _limits(environment: Mapping[str, str]) -> Iterator[int]:
    """Yield what limits the number beside the affinity."""
    text = environment.get("SLURM_CPUS_PER_TASK", "")
    if text.isdecimal():
        yield int(text)
    # A part of a processor is one that can be used: a thread more than there is time for waits a little.
    yield from map(math.ceil, quotas())


def control_groups(controller: str, root: Path = CGROUPS, own: Path = OF_THIS_PROCESS) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, of version 2 and of a controller of version 1.

    In no order, each once; a container sees its own group as the root, whatever its path says.
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


def quotas(root: Path = CGROUPS, own: Path = OF_THIS_PROCESS) -> Iterator[float]:
    """Yield how many processors' time each limited control group of this process has.

    Of version 2 (cpu.max) and of version 1 (cpu.cfs_quota_us / cpu.cfs_period_us). None where there are none.
    """
    for folder in control_groups("cpu", root, own):
        quota, period = _quota_of(folder)
        if quota > 0 and period > 0:
            yield quota / period


def _quota_of(folder: Path) -> tuple[int, int]:
    """Return a group's time and the period that it is for; 0 or less where there is no limit."""
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
