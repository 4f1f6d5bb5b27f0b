"""Generators that run ahead: order, errors and ends; a killed process must neither hang nor outlive another."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from tiny import ROOT

from machine.buffering import buffered_gen_mp, threaded_gen
from machine.files import DataError

BUFFERS = {
    "process": lambda source, **sizes: buffered_gen_mp(source, sleep_time=0.05, **sizes),
    "thread": threaded_gen,
}


@pytest.fixture(params=BUFFERS)
def buffered(request: pytest.FixtureRequest):
    """Buffer a generator in a process or in a thread, neither of which may be left over at the end."""
    threads = threading.active_count()
    yield BUFFERS[request.param]
    assert multiprocessing.active_children() == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("buffer_size", [1, 2, 50])
def test_buffer_keeps_the_order_and_ends(buffered, buffer_size: int):
    assert list(buffered(iter(range(30)), buffer_size=buffer_size)) == list(range(30))


def test_an_empty_generator_ends_at_once(buffered):
    assert list(buffered(iter(()))) == []


def test_large_arrays_pass_the_buffer(buffered):
    def source():
        for number in range(4):
            yield np.full((500, 1000), number, np.float32), number

    numbers = []
    for array, number in buffered(source()):
        assert (array == number).all() and array.shape == (500, 1000)
        numbers.append(number)
    assert numbers == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [DataError("image 7 is missing"), ValueError("image 7 is missing")])
def test_buffer_passes_an_exception_on(buffered, error: Exception):
    def source():
        yield "before"
        raise error

    items = buffered(source())
    assert next(items) == "before"
    with pytest.raises(type(error), match="image 7 is missing"):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_buffer_runs_ahead_by_its_length_at_most():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    items = threaded_gen(source(), buffer_size=3)
    assert next(items) == 0
    assert len(made) <= 1 + 3 + 1
    items.close()


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_process_ends_when_its_consumer_stops_early(size: int):
    def source():
        while True:
            yield os.getpid(), bytes(size)

    items = buffered_gen_mp(source(), sleep_time=0.05)
    pid, _ = next(items)
    assert pid != os.getpid()
    assert [child.pid for child in multiprocessing.active_children()] == [pid]
    items.close()
    assert multiprocessing.active_children() == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_thread_ends_when_its_consumer_stops_early():
    threads = threading.active_count()
    closed = threading.Event()

    def source():
        try:
            while True:
                yield threading.get_ident()
        finally:
            closed.set()

    items = threaded_gen(source())
    assert next(items) != threading.get_ident()
    items.close()
    assert threading.active_count() == threads
    assert closed.is_set()


def start_consumer(code: str) -> subprocess.Popen:
    """Start a Python program from the project's folder, its output in a pipe that its children hold, too."""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(consumer: subprocess.Popen) -> tuple[str, str]:
    """Return what a program printed, once it and all its children have ended; fails where they do not."""
    try:
        return consumer.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        consumer.kill()
        consumer.wait()
        consumer.stdout.close()
        consumer.stderr.close()
        pytest.fail("the program or a child of it still runs")


SLOW_SOURCE = """
import os, signal, time
from machine.buffering import buffered_gen_mp

def source():
    yield os.getpid()
    time.sleep(600)
"""
LARGE_SOURCE = """
import os, signal, time
from machine.buffering import buffered_gen_mp

def source():
    yield os.getpid()
    while True:
        yield bytes(10_000_000)
"""


@pytest.mark.parametrize("source", [SLOW_SOURCE, LARGE_SOURCE], ids=["slow", "large"])
def test_process_vanishes_when_its_consumer_is_killed(source: str):
    code = source + "items = buffered_gen_mp(source())\nprint(next(items), flush=True)\ntime.sleep(600)\n"
    consumer = start_consumer(code)
    assert int(consumer.stdout.readline()) != consumer.pid
    consumer.kill()
    finish(consumer)
    assert consumer.returncode == -signal.SIGKILL


@pytest.mark.parametrize("source", [SLOW_SOURCE, LARGE_SOURCE], ids=["slow", "large"])
def test_consumer_learns_that_its_process_was_killed(source: str):
    code = source + (
        "items = buffered_gen_mp(source(), sleep_time=0.1)\n"
        "pid = next(items)\n"
        "time.sleep(0.5)  # by now the pipe is full of the next item, if there is one\n"
        "os.kill(pid, signal.SIGKILL)\n"
        "try:\n"
        "    for item in items: pass\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    out, _ = finish(start_consumer(code))
    assert "ended with exit status -9" in out
