"""Memory that is freed stays with the process, until it is given back."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import numpy as np
from freed_memory import give_back_freed_memory, keep_freed_memory

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 // 2**20

keep_freed_memory()
before = resident()
large = [np.ones(20 * 2**20, np.uint8) for _ in range(10)]
behind = np.ones(2**10)  # so that the heap does not end with what is freed
del large
kept = resident() - before
give_back_freed_memory()
print(kept, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere nothing happens")
def test_freed_memory_is_kept_until_it_is_given_back():
    command = [sys.executable, "-c", SCRIPT]
    printed = subprocess.run(command, cwd=Path(__file__).parent.parent, check=True, capture_output=True, text=True)
    kept, left = map(int, printed.stdout.split())
    assert kept >= 190
    assert left <= 40
