"""Commands run and watched: their processor time, and the memory of all their processes together."""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
INTERVAL = 0.5


@dataclass(frozen=True)
class Watched:
    """What a command took: seconds, processor seconds of all its processes, their memory at its peak in bytes."""

    seconds: float
    processor_seconds: float
    peak: int
    status: int


def watched(command: Sequence[object], kill_after: float | None = None) -> Watched:
    """Run a script of this project, killed after so many seconds, and return what it took.

    The peak is that of proportional set sizes, pages that processes share counted once, looked at every half second.
    """
    before, peak, start = resource.getrusage(resource.RUSAGE_CHILDREN), 0, time.monotonic()
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=HERE)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        if kill_after is not None and time.monotonic() - start > kill_after:
            process.kill()
        time.sleep(INTERVAL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(time.monotonic() - start, used, peak, process.returncode)


def memory(pid: int) -> int:
    """Return the memory of a process and of those that it started, shared pages counted once (Linux), bytes."""
    total, waiting = 0, [pid]
    while waiting:
        current = Path("/proc", str(waiting.pop()))
        try:
            lines = (current / "smaps_rollup").read_text().splitlines()
            total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            # Each thread has processes of its own.
            for task in (current / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total
