"""A function in a limited process: results, exceptions, and limits of memory and time."""

import gc
import os
import signal
import sys
import time

import numpy as np
import pytest

from machine.files import DataError
from machine.limited import LimitError, limited

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
LIMITS = {"num_bytes": 2**27, "seconds": 30}


def test_the_result_comes_back():
    result = limited(lambda count: {"a": np.arange(count), "b": ["x", None]}, 100_000, **LIMITS)
    np.testing.assert_array_equal(result["a"], np.arange(100_000))
    assert result["b"] == ["x", None]


def test_an_exception_comes_back_with_a_known_type():
    def refuse(error: Exception) -> None:
        raise error

    with pytest.raises(DataError, match="expected this"):
        limited(refuse, DataError("expected this"), **LIMITS)
    with pytest.raises(ValueError, match="7"):
        limited(refuse, KeyError(7), **LIMITS)
    with pytest.raises(ImportError, match="nothing"):
        limited(refuse, ModuleNotFoundError("nothing"), **LIMITS)


def test_memory_is_limited():
    with pytest.raises(LimitError, match="more than 128 MiB of memory"):
        limited(lambda: np.ones(2**28).sum(), **LIMITS)


def test_time_is_limited():
    def compute() -> None:
        while True:
            pass

    with pytest.raises(LimitError, match="more than 1 s"):
        limited(compute, num_bytes=2**27, seconds=1)


def test_a_process_that_dies_is_one_line():
    with pytest.raises(LimitError, match="MiB of memory"):
        limited(lambda: os.kill(os.getpid(), signal.SIGKILL), **LIMITS)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("machine.limited._PATIENCE", 1)
    with pytest.raises(LimitError, match="more than 1 s"):
        limited(lambda: time.sleep(1000), num_bytes=2**27, seconds=1)


def test_objects_of_the_parent_are_not_destroyed_in_the_process():
    # A destructor that joins a thread of the parent would wait forever.
    assert limited(gc.isenabled, **LIMITS) is False
    assert gc.isenabled()
