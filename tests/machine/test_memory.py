"""Freed memory stays with the process until it is returned; shared memory is checked before it is allocated."""

import platform
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tiny import ROOT

from machine import cores, memory
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
def test_freed_memory_stays_with_the_process_until_it_is_returned():
    printed = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, capture_output=True, text=True)
    kept, left = map(int, printed.stdout.split())
    assert kept >= 190
    assert left <= 40


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({"memory.max": "1000", "memory.current": "600", "memory.stat": "anon 1\nfile 300\nshmem 100\n"}, 600),
        ({"memory.max": "max", "memory.current": "600", "memory.stat": "file 300\n"}, float("inf")),
        (
            {
                "memory.limit_in_bytes": "1000",
                "memory.usage_in_bytes": "900",
                "memory.stat": "cache 1\ntotal_cache 200\ntotal_shmem 0\n",
            },
            300,
        ),
        ({"memory.max": "1000"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_cached_files_do_not_count_as_used_in_a_control_group(tmp_path: Path, files: dict[str, str], room: float):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert memory.room_of(tmp_path) == room


def test_the_smallest_room_of_all_groups_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder, limit in ((tmp_path, "5000"), (tmp_path / "job", "3000"), (tmp_path / "job" / "step", "max")):
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text("1000")
        (folder / "memory.stat").write_text("file 0\nshmem 0\n")
    (tmp_path / "own").write_text("0::/job/step\n")
    groups = partial(cores.control_groups, root=tmp_path, own=tmp_path / "own")
    monkeypatch.setattr(memory, "control_groups", groups)
    assert memory.available() == 2000


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_shared_memory_has_the_requested_length(start_method: str):
    assert len(memoryview(memory.take_shared(5000, start_method, "less")).cast("B")) == 5000


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_more_memory_than_available_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, start_method: str):
    monkeypatch.setattr(memory, "available", lambda: 2e9)
    with pytest.raises(
        DataError, match=r"expected 3\.00 GB of memory for two chunks, got 2\.00 GB; run again with less"
    ):
        memory.take_shared(3 * 10**9, start_method, "less")


def test_a_small_ram_drive_is_refused_before_the_allocation(monkeypatch: pytest.MonkeyPatch):
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 999))
    with pytest.raises(DataError, match=r"expected 0\.00 GB free in .*, got 0\.00 GB; enlarge it .* with less"):
        memory.take_shared(1000, "spawn", "less")
