"""A map in several processes: the same results in the same order, and an end when a process dies."""

import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest

from machine.files import DataError
from machine.processes import Start, mapping

told: list[str] = []


def number_and_process(number: int) -> tuple[int, int]:
    return number, os.getpid()


def tell(word: str) -> None:
    told.append(word)


def what_was_told(number: int) -> list[str]:
    return told


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> None:
    raise DataError(f"image {number}")


def test_processes_keep_the_order():
    for num_workers in (1, 2):
        with mapping(num_workers, chunksize=3) as map_in_processes:
            results = list(map_in_processes(number_and_process, range(20)))
        assert [number for number, _ in results] == list(range(20))
        assert (os.getpid() in {process for _, process in results}) == (num_workers == 1)


def test_processes_call_their_initializer_first():
    with mapping(2, 3, Start(tell, ("word",))) as map_in_processes:
        assert list(map_in_processes(what_was_told, range(6))) == [["word"]] * 6
    assert told == []


def test_a_process_that_dies_ends_the_map():
    with pytest.raises(BrokenProcessPool), mapping(2, chunksize=1) as map_in_processes:
        list(map_in_processes(die, range(4)))
    assert multiprocessing.active_children() == []


def test_the_parent_raises_an_error_of_a_worker():
    with pytest.raises(DataError, match="image 0"), mapping(2, chunksize=1) as map_in_processes:
        list(map_in_processes(refuse, range(4)))
    assert multiprocessing.active_children() == []
