"""Memory that is freed stays with the process, until it is given back; what workers share is asked for beforehand."""

import platform
import shutil
import subprocess
import sys

import pytest
from tiny import ROOT

from machine import memory
from machine.files import DataError

SCRIPT = """
import numpy as np
from machine.memory import give_back_freed_memory, keep_freed_memory

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
    printed = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, capture_output=True, text=True)
    kept, left = map(int, printed.stdout.split())
    assert kept >= 190
    assert left <= 40


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_shared_memory_is_as_long_as_was_asked(start_method: str):
    assert len(memoryview(memory.take_shared(5000, start_method, "less")).cast("B")) == 5000


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_more_than_there_is_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, start_method: str):
    monkeypatch.setattr(memory, "available", lambda: 2e9)
    with pytest.raises(
        DataError, match=r"expected 3\.00 GB of memory for two chunks, got 2\.00 GB; run again with less"
    ):
        memory.take_shared(3 * 10**9, start_method, "less")


def test_a_small_ram_drive_is_told_beforehand(monkeypatch: pytest.MonkeyPatch):
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 999))
    with pytest.raises(DataError, match=r"expected 0\.00 GB free in .*, got 0\.00 GB; enlarge it .* with less"):
        memory.take_shared(1000, "spawn", "less")
