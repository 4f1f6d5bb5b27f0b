"""Arrays on disk: written arrays are read back, and damaged, foreign or too large files are refused."""

import gzip
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from crafted import npy_header, number_arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ROOT

from machine import arrays
from machine.arrays import load_array, load_gz, save_array, save_gz
from machine.files import DataError


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_gz_round_trip(tmp_path: Path, dtype: type):
    array = np.random.default_rng(0).uniform(0, 200, size=(7, 3)).astype(dtype)
    path = tmp_path / "a" / "new" / "folder" / "array.npy.gz"
    save_gz(path, array)
    loaded = load_gz(path)
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, array)
    with gzip.open(path) as file:
        np.testing.assert_array_equal(np.load(file), array)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


TYPES = {
    "truth values": np.array([True, False]),
    "floats of 16 bits": np.linspace(0, 1, 5, dtype=np.float16),
    "floats, the other byte first": np.linspace(0, 1, 6, dtype=">f8").reshape(2, 3),
    "a number": np.array(3.5),
    "nothing": np.empty((0, 37), np.float32),
    "complex numbers": np.exp(1j * np.arange(4)).reshape(2, 2),
    "text": np.array(["gen2", "größer", ""]),
    "bytes": np.array([b"gen2", b""]),
    "dates": np.array(["2014-04-16", "NaT"], dtype="datetime64[D]"),
    "durations": np.array([67, 4], dtype="timedelta64[h]"),
    "a column": np.arange(6.0).reshape(2, 3)[:, 1],
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("ending", [".npy", ".npy.gz"])
def test_load_gz_and_numpy_read_the_files_of_save_gz(tmp_path: Path, name: str, ending: str):
    path, array = tmp_path / f"array{ending}", TYPES[name]
    save_gz(path, array)
    with (gzip.open if ending == ".npy.gz" else open)(path, "rb") as file:
        by_numpy = np.load(file, allow_pickle=False)
    for loaded in (load_gz(path), load_gz(path, array.shape), by_numpy):
        assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(loaded, array)
    assert load_gz(path).flags.writeable


def test_save_gz_writes_a_list_as_numpy_does(tmp_path: Path):
    save_gz(tmp_path / "list.npy", [[1, 2], [3, 4]])
    np.testing.assert_array_equal(load_gz(tmp_path / "list.npy"), [[1, 2], [3, 4]])


@pytest.mark.parametrize("ending", [".npy", ".npy.gz"])
def test_nothing_is_pickled(tmp_path: Path, ending: str):
    path = tmp_path / f"array{ending}"
    for array, dtype in (
        (np.array([{}], dtype=object), "object"),
        (np.zeros(2, dtype=[("x", float)]), r"\[\('x', '<f8'\)\]"),
    ):
        with pytest.raises(DataError, match=f"expected numbers, text or dates to write to .*{ending}, got {dtype}; "):
            save_gz(path, array)
        assert not path.exists()
        with (gzip.open if ending == ".npy.gz" else open)(path, "wb") as file:
            np.save(file, array)
        with pytest.raises(DataError, match="is not a NumPy array"):
            load_gz(path)
        path.unlink()


@pytest.mark.parametrize("name", ["array.gz", "array.npz", "array", "array.npy.bz2", "npy"])
def test_other_names_are_refused(tmp_path: Path, name: str):
    line = rf"^expected a file name that ends with \.npy\.gz or \.npy, got .*{name}; rename the file$"
    with pytest.raises(DataError, match=line):
        save_gz(tmp_path / name, np.zeros(3))
    with (tmp_path / name).open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=line):
        load_gz(tmp_path / name)


@pytest.mark.parametrize("ending", [".npy", ".npy.gz"])
def test_a_large_array_is_read_only_when_its_shape_is_given(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", 1000)
    path, array = tmp_path / f"array{ending}", np.random.default_rng(0).random((100, 3))
    save_gz(path, array)
    told = r"expected at most 1000 bytes, as its shape is not known, its header says float64 \(100, 3\); name the shape"
    for shape in (None, (None, 3)):
        with pytest.raises(DataError, match=told):
            load_gz(path, shape)
    np.testing.assert_array_equal(load_gz(path, (100, 3)), array)


def damage(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    return {
        "empty": b"",
        "truncated": content[:middle],
        "no gzip": b"not a compressed file",
        "no array": gzip.compress(b"not an array"),
        "changed": content[:middle]
        + bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        + content[middle + 64 :],
        "wrong checksum": content[:-8] + bytes(4) + content[-4:],
    }[how]


@pytest.mark.parametrize("values", [np.zeros(3700), np.random.default_rng(0).random(3700)], ids=["zeros", "random"])
@pytest.mark.parametrize("how", ["empty", "truncated", "no gzip", "no array", "changed", "wrong checksum"])
def test_gz_damaged(tmp_path: Path, how: str, values: np.ndarray):
    path = tmp_path / "array.npy.gz"
    save_gz(path, values)
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.raises(DataError, match=r"(?s)array\.npy\.gz is not a NumPy array.*run it\.py again"):
        load_array(path, "it.py")


def test_arrays_of_objects_are_refused(tmp_path: Path):
    np.save(tmp_path / "array.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match="is not a NumPy array"):
        load_array(tmp_path / "array.npy", "it.py")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(number_arrays, st.booleans(), st.sampled_from([".npy", ".npy.gz"]))
def test_any_array_is_read_as_it_was_written(tmp_path_factory, array, transposed, ending):
    path = tmp_path_factory.mktemp("array") / f"array{ending}"
    array = array.T if transposed else array
    (save_gz if ending == ".npy.gz" else save_array)(path, array)
    loaded = load_array(path, "x.py", array.shape)
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)
    assert loaded.flags.writeable


HUGE = {
    "one long axis": npy_header((2**40,)),
    "two axes": npy_header((100_000, 100_000)),
    "an axis of length 0 beside a long one": npy_header((0, 2**62)),
    "more bytes than a pointer counts": npy_header((2**47, 2**47, 2**47)),
    "a negative length": npy_header((-1, 37)),
    "a truth value as a length": npy_header((9, True)),
    "within the limit, in a small file": npy_header((2**25,)),
    "one long text": npy_header((1,), "<U999999999"),
    "a long header": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 10**6,
    "zeros without end": npy_header((37,)) + bytes(10**8),
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("ending", [".npy", ".npy.gz"])
def test_memory_grows_with_the_bytes_of_the_file_and_not_with_its_header(tmp_path, name, ending):
    path = tmp_path / f"huge{ending}"
    path.write_bytes(gzip.compress(HUGE[name], 1) if ending == ".npy.gz" else HUGE[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"is not a NumPy array|expected at most \d+ bytes, as its shape"):
            load_array(path, "x.py")
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


def test_another_shape_is_refused_before_memory_is_allocated(tmp_path):
    path = tmp_path / "long.npy"
    save_array(path, np.zeros((10**6, 3), np.float32))
    tracemalloc.start()
    try:
        for shape in ((10**6, 37), (None, 37), (None,), (10**6, 3, 1)):
            with pytest.raises(DataError, match=r"expected shape \([n0-9, ]+\), got float32 \(1000000, 3\)"):
                load_array(path, "x.py", shape)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert load_array(path, "x.py", (None, 3), np.floating).shape == (10**6, 3)


def test_a_long_array_of_the_expected_shape_takes_the_memory_of_its_bytes_only(tmp_path: Path):
    path = tmp_path / "short.npy"
    path.write_bytes(npy_header((10**8, 37)) + bytes(10**6))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"is not a NumPy array \(it ends \d+ bytes early\)"):
            load_array(path, "x.py", (10**8, 37))
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("name", ["a.npy", "a.npy.gz"])
def test_an_array_that_fills_the_disk_at_its_end_is_not_written(tmp_path: Path, name: str):
    script = (
        "import resource, sys; import numpy as np; from machine.arrays import save_gz\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "save_gz(sys.argv[1], np.random.default_rng(0).random(300))"
    )
    path = tmp_path / name
    done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True)
    assert "cannot be written (File too large)" in done.stderr
    assert not list(tmp_path.iterdir())
