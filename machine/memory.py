"""Memory: available bytes, freed memory that glibc keeps, and memory that worker processes share.

By default glibc returns each large array to the kernel, which must clear the pages again: a third of the time of a
training step on the CPU, and a quarter of the time of decoding an image (`benchmarks/`).
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

    A forked process would share it, so that the parent would copy each page at the next write.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def available() -> float:
    """Return the available bytes of memory, infinity on a system that does not state them."""
    limits = [float("inf")]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    limits += map(room_of, control_groups("memory"))
    return min(limits)


def room_of(group: Path) -> float:
    """Return the bytes that the processes of a control group may still allocate, infinity without a limit.

    Covers versions 2 and 1. Cached files do not count as used, since the kernel drops them on demand.
    """
    for limit, used, files in (
        ("memory.max", "memory.current", "file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" means no limit
            pairs = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            stat = {name: int(value) for name, value in pairs}
            shared = stat.get("shmem", stat.get("total_shmem", 0))  # counted as files, but cannot be dropped
            cached = max(0, stat.get(files, 0) - shared)
            return int((group / limit).read_text()) - max(0, int((group / used).read_text()) - cached)
    return float("inf")


def take_shared(num_bytes: int, start_method: str, remedy: str) -> mmap.mmap | ctypes.Array:
    """Allocate memory that worker processes will share; raises DataError, with the remedy, when it is not available."""
    hint = f"run again with {remedy}"
    size, room = f"{num_bytes / 1e9:.2f} GB", available()
    if num_bytes > room:
        raise DataError(f"expected {size} of memory for two chunks, got {room / 1e9:.2f} GB; {hint}")
    if start_method == "fork":
        # Forked processes inherit an anonymous map: no file in /dev/shm, which is small in containers.
        try:
            return mmap.mmap(-1, num_bytes)
        except OSError as error:
            raise DataError(f"{size} of memory for two chunks cannot be allocated ({error}); {hint}") from None
    # Other start methods use files; a write to one on a full disk would kill the process (SIGBUS).
    folders = [path for path in (Path("/dev/shm"), Path(tempfile.gettempdir())) if path.is_dir()]
    free = max(shutil.disk_usage(path).free for path in folders)
    if num_bytes > free:
        raise DataError(
            f"expected {size} free in {' or '.join(map(str, folders))} for two chunks, got {free / 1e9:.2f} GB; "
            f"enlarge it (mount -o remount,size=4G /dev/shm), or {hint}"
        )
    return multiprocessing.get_context(start_method).RawArray(ctypes.c_byte, num_bytes)
