"""Pickles of Python 2 and 3 are read; pickles that would call a function are refused."""

import pickle
import tracemalloc

import numpy as np
import pytest
from crafted import ANALYSIS, BOMBS, CALLS, CRAFTED, number_arrays, write_python2_pickle
from hypothesis import given, settings
from hypothesis import strategies as st

from machine.arrays import load_pickle
from machine.files import DataError


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
    assert_same(load_pickle(path, "x.py"), ANALYSIS)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_python_3_is_read(tmp_path, protocol):
    path = tmp_path / "new.pkl"
    path.write_bytes(pickle.dumps(ANALYSIS, protocol=protocol))
    assert_same(load_pickle(path, "x.py"), ANALYSIS)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_is_refused_by_name(tmp_path, name, protocol):
    mark = tmp_path / "executed"
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(CALLS[name](str(mark)), protocol=protocol))
    with pytest.raises(DataError, match=rf"bad.pkl cannot be read \(.*{name}.*\); run x.py again"):
        load_pickle(path, "x.py")
    assert not mark.exists()


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_pickle_is_refused_by_name(tmp_path, name):
    mark = tmp_path / "executed"
    path = tmp_path / "bad.pkl"
    path.write_bytes(CRAFTED[name].replace(b"{mark}", str(mark).encode()))
    with pytest.raises(DataError, match=rf"bad.pkl cannot be read \(.*{name.strip()}.*\); run x.py again"):
        load_pickle(path, "x.py")
    assert not mark.exists()


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_pickle_takes_little_memory_and_time(tmp_path, name):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        if name == "a place in the memo":
            assert load_pickle(path, "x.py") is None
        else:
            with pytest.raises(DataError, match="cannot be read"):
                load_pickle(path, "x.py")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_arrays_of_every_order_and_length_are_read(tmp_path):
    arrays = [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(5, dtype=">i4"),
        np.zeros((0, 5)),
        np.zeros(0, np.float32),
        np.array(5.0),
        np.array([True, False]),
        np.int64(-4),
        np.bool_(True),
    ]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(arrays, protocol=protocol))
        for ours, theirs in zip(load_pickle(path, "x.py"), arrays, strict=True):
            assert type(ours) is type(theirs)
            assert ours.shape == theirs.shape
            assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"no pickle", pickle.dumps(ANALYSIS)[:-40]])
def test_a_damaged_pickle_gives_one_line(tmp_path, data):
    path = tmp_path / "cut.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read") as error:
        load_pickle(path, "x.py")
    assert "\n" not in str(error.value)


# Larger keys are refused: many of them can share one hash.
keys = st.text() | st.integers(-(2**60) + 1, 2**60 - 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda each: st.lists(each) | st.tuples(each, each) | st.dictionaries(keys, each),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(number_arrays, plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_any_plain_pickle_is_read_as_it_was_written(tmp_path_factory, array, value, protocol):
    path = tmp_path_factory.mktemp("pickle") / "any.pkl"
    path.write_bytes(pickle.dumps({"array": array, "value": value}, protocol))
    loaded = load_pickle(path, "x.py")
    assert loaded["value"] == value
    assert loaded["array"].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(loaded["array"], array)
