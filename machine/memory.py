"""Memory: how much there is, what glibc keeps of what is freed, and what worker processes share.

By default glibc returns every large array to the kernel, which clears the pages anew each time: a third of the time of
a training step on the CPU, and a quarter of decoding an image (`benchmarks/`).
"""

import contextlib
import ctypes
import mmap
import multiprocessing
import shutil
import tempfile
from pathlib import Path

from machine.cores import control_groups
from machine.files import DataError


def keep_freed_memory() -> None:
    """Keep freed memory in this process (glibc only)."""
    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(AttributeError, OSError, TypeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(m_mmap_max, 0)
        c_library.mallopt(m_trim_threshold, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Return kept memory to the kernel, once (glibc only).

    Else a process that is forked shares it, and the parent copies each page that it writes to next.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def available() -> float:
    """Return the bytes of memory that may be had, infinity where the system does not tell."""
    found = [float("inf")]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    found += map(room_of, control_groups("memory"))
    return min(found)


def room_of(group: Path) -> float:
    """Return the bytes that the processes of a control group (version 2 or 1) may still take; infinity: no limit.

    What is used counts but for the files that are kept in memory, which are given up when there is want of it.
    """
    for limit, used, of_files in (
        ("memory.max", "memory.current", "file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no limit is written "max"
            pairs = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            stat = {name: int(value) for name, value in pairs}
            shared = stat.get("shmem", stat.get("total_shmem", 0))  # counts among files, and can not be given up
            kept = max(0, stat.get(of_files, 0) - shared)
            return int((group / limit).read_text()) - max(0, int((group / used).read_text()) - kept)
    return float("inf")


def take_shared(num_bytes: int, start_method: str, remedy: str) -> mmap.mmap | ctypes.Array:
    """Return memory that worker processes will share; raises DataError, with the remedy, unless there is enough."""
    hint = f"run again with {remedy}"
    size, had = f"{num_bytes / 1e9:.2f} GB", available()
    if num_bytes > had:
        raise DataError(f"expected {size} of memory for two chunks, got {had / 1e9:.2f} GB; {hint}")
    if start_method == "fork":
        # What is inherited needs no name, and no room on the RAM drive, which is small in containers.
        try:
            return mmap.mmap(-1, num_bytes)
        except OSError as error:
            raise DataError(f"{size} of memory for two chunks can not be had ({error}); {hint}") from None
    # Else they live in files, whose want of room later would end whoever touches them without a word.
    places = [path for path in (Path("/dev/shm"), Path(tempfile.gettempdir())) if path.is_dir()]
    free = max(shutil.disk_usage(path).free for path in places)
    if num_bytes > free:
        raise DataError(
            f"expected {size} free in {' or '.join(map(str, places))} for two chunks, got {free / 1e9:.2f} GB; "
            f"enlarge it (mount -o remount,size=4G /dev/shm), or {hint}"
        )
    return multiprocessing.get_context(start_method).RawArray(ctypes.c_byte, num_bytes)
