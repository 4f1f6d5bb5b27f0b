"""Pickles: today's, Python 2's, and those that would run something."""

import builtins
import os
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import load_data


class Python2Pickler(pickle._Pickler):
    """Write protocol 2 as Python 2 and NumPy 1.6 did: `str` is bytes, and NumPy's functions live in numpy.core."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        data = text.encode("latin1") if isinstance(text, str) else text
        short = len(data) < 256
        self.write(b"U" + bytes([len(data)]) + data if short else b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    def save_global(self, obj: object, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[type] = dispatch[type(len)] = dispatch[type(save_string)] = save_global


def write_python2_pickle(path: Path, value: object) -> None:
    """Write a pickle as a script of 2014 did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(value)


ANALYSIS = {
    "ids": np.arange(100008, 100011),
    "mean_train_loss": np.float32(0.09),
    "losses_valid": [np.float64(0.1), 0.09],
    "time_since_start": 241200.5,
    "param_values": [np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30), np.zeros(30, np.float32)],
}


def assert_same(ours: object, theirs: object) -> None:
    assert list(ours) == list(theirs)
    for key in theirs:
        for a, b in (
            zip(np.atleast_1d(ours[key]), np.atleast_1d(theirs[key]), strict=True) if key != "param_values" else ()
        ):
            assert a == b
    for a, b in zip(ours["param_values"], theirs["param_values"], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_pickle_of_python_2_is_read(tmp_path):
    path = tmp_path / "old.pkl"
    write_python2_pickle(path, ANALYSIS)
    stream = path.read_bytes()
    assert stream.startswith(b"\x80\x02")
    assert b"cnumpy.core.multiarray\n_reconstruct" in stream
    assert b"U\x0cparam_values" in stream  # a byte string of Python 2
    assert b"_codecs" not in stream
    assert_same(load_data.load_pickle(path, "x.py"), ANALYSIS)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_today_is_read(tmp_path, protocol):
    path = tmp_path / "new.pkl"
    path.write_bytes(pickle.dumps(ANALYSIS, protocol=protocol))
    assert_same(load_data.load_pickle(path, "x.py"), ANALYSIS)


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def touch(path: str) -> None:
    Path(path).touch()


MALICIOUS = {
    "os.system": lambda mark: Calls(os.system, f"touch {mark}"),
    "eval": lambda mark: Calls(builtins.eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Calls(builtins.exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Calls(open, mark, "w"),
    "__import__": lambda mark: Calls(builtins.__import__, "os"),
    "getattr": lambda mark: Calls(getattr, np.ndarray, "tofile"),
    "pathlib": lambda mark: Path(mark),
    "a function of this test": lambda mark: Calls(touch, mark),
    "numpy.load": lambda mark: Calls(np.load, mark),
    "numpy.fromfile": lambda mark: Calls(np.fromfile, mark),
    "numpy.save": lambda mark: Calls(np.save, mark, np.zeros(1)),
    "numpy.memmap": lambda mark: Calls(np.memmap, mark, "u1", "w+", 0, (1,)),
    "another codec": lambda mark: Calls(__import__("_codecs").encode, "x", "rot13"),
    "inside an object array": lambda mark: np.array([Calls(os.system, f"touch {mark}")], dtype=object),
}


@pytest.mark.parametrize("name", MALICIOUS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_unread(tmp_path, name, protocol):
    mark = tmp_path / "executed"
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(MALICIOUS[name](str(mark)), protocol=protocol))
    with pytest.raises(load_data.DataError, match=r"bad.pkl can not be read \(.+\); run x.py again"):
        load_data.load_pickle(path, "x.py")
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"no pickle", pickle.dumps(ANALYSIS)[:-40]])
def test_a_damaged_pickle_is_one_clear_line(tmp_path, data):
    path = tmp_path / "cut.pkl"
    path.write_bytes(data)
    with pytest.raises(load_data.DataError, match="can not be read") as error:
        load_data.load_pickle(path, "x.py")
    assert "\n" not in str(error.value)
