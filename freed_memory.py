"""What glibc does with memory that is freed; nothing happens where it is not the C library.

By default it returns every large array to the kernel, which clears the pages anew each time: a third of the time of a
training step on the CPU, and a quarter of decoding an image (`benchmarks/`).
"""

import contextlib
import ctypes


def keep_freed_memory() -> None:
    """Have freed memory kept for whoever asks next in this process."""
    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(AttributeError, OSError, TypeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(m_mmap_max, 0)
        c_library.mallopt(m_trim_threshold, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Return what was kept to the kernel, once.

    Else a process that is forked shares it, and the parent copies each page that it writes to next.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
