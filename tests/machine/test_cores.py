"""The number of processors is the minimum over affinity, control groups and batch system."""

import os
from pathlib import Path

import pytest

from machine import cores
from machine.cores import available_cores, quotas


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of control groups; the machine has 64 processors and no Slurm."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(cores, "quotas", lambda: quotas(tmp_path, tmp_path / "own"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    return tmp_path


def write(root: Path, own: str, **limits: str) -> None:
    """Write the groups of the process and their limits; `__` stands for `/`."""
    (root / "own").write_text(own)
    for name, text in limits.items():
        *folders, file = name.split("__")
        path = root.joinpath(*folders) / f"cpu.{file}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_limits_the_affinity_counts(machine):
    assert available_cores() == 64
    write(machine, "0::/\n", max="max 100000\n")
    assert available_cores() == 64


@pytest.mark.parametrize(("text", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1)])
def test_a_group_of_version_2_limits_it(machine, text, expected):
    write(machine, "0::/\n", max=text)
    assert available_cores() == expected


def test_the_smallest_limit_of_a_group_and_its_parents_counts(machine):
    write(machine, "0::/user/job\n", user__max="300000 100000", user__job__max="800000 100000")
    assert sorted(quotas(machine, machine / "own")) == [3.0, 8.0]
    assert available_cores() == 3


def test_groups_of_version_1(machine):
    own = "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"
    write(machine, own, cpu__docker__x__cfs_quota_us="400000\n", cpu__docker__x__cfs_period_us="100000\n")
    assert available_cores() == 4
    write(machine, own, cpu__docker__x__cfs_quota_us="-1\n")
    assert available_cores() == 64


@pytest.mark.parametrize("text", ["", "max", "-5 100000", "100000 0", "a b", "1 2 3", "\x00"])
def test_damaged_files_do_not_limit(machine, text):
    write(machine, "0::/\nno group\n", max=text)
    assert available_cores() == 64


@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("", 64), ("many", 64), ("0", 1), ("100", 64)])
def test_a_task_of_slurm_counts_the_requested_processors(machine, monkeypatch, text, expected):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
    assert available_cores() == expected


def test_a_smaller_affinity_counts(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert available_cores() == 1
