"""A map in several processes: the same results in the same order, and an end when a process dies."""

import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import load_data
from process_pool import mapping


def root_and_process(number: int) -> tuple[int, Path, int]:
    return number, load_data.folders.root, os.getpid()


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> None:
    raise load_data.DataError(f"image {number}")


def test_processes_know_the_folders_and_keep_the_order(tmp_path: Path):
    load_data.use_folders(tmp_path)
    try:
        for num_workers in (1, 2):
            with mapping(num_workers, chunksize=3) as each:
                results = list(each(root_and_process, range(20)))
            assert [number for number, _, _ in results] == list(range(20))
            assert {root for _, root, _ in results} == {tmp_path}
            assert (os.getpid() in {process for _, _, process in results}) == (num_workers == 1)
    finally:
        load_data.use_folders(".")


def test_a_process_that_dies_ends_the_map():
    with pytest.raises(BrokenProcessPool), mapping(2, chunksize=1) as each:
        list(each(die, range(4)))
    assert multiprocessing.active_children() == []


def test_an_error_is_raised_here():
    with pytest.raises(load_data.DataError, match="image 0"), mapping(2, chunksize=1) as each:
        list(each(refuse, range(4)))
    assert multiprocessing.active_children() == []
