"""Folders, ids, labels, images, arrays on disk and buffers; a killed process must neither hang nor outlive another."""

import argparse
import gzip
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import Survey, write_jpeg
from PIL import Image

import decision_tree
import load_data

ROOT = Path(__file__).resolve().parent.parent


def test_folders_as_documented():
    folders = load_data.Folders()
    assert folders.solutions_csv == Path("data/raw/training_solutions_rev1.csv")
    assert folders.images("train") == Path("data/raw/images_train_rev1")
    assert folders.images("test", from_ram=True) == Path("/dev/shm/images_test_rev1")
    assert folders.analysis("try_x") == Path("analysis/final/try_x.pkl")
    assert folders.augmented("valid", "try_x") == Path("predictions/final/augmented/valid/try_x.npy.gz")
    with pytest.raises(ValueError, match="'valid'"):
        folders.images("valid")


def test_parser_and_numbers_from_a_command_line():
    arguments = load_data.script_parser("words").parse_args([])
    assert (arguments.root, arguments.data) == (".", None)
    assert load_data.positive_int("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1, got 0"):
        load_data.positive_int("0")


@pytest.mark.parametrize("error", [load_data.DataError("no such galaxy"), PermissionError("no such galaxy")])
def test_run_script_turns_bad_input_into_one_line(error: Exception):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        load_data.run_script(main)
    assert ended.value.code == "error: no such galaxy"


def test_run_script_when_interrupted_and_when_wrong():
    def interrupted() -> None:
        raise KeyboardInterrupt

    def wrong() -> None:
        raise TypeError("a mistake of ours keeps its stack trace")

    with pytest.raises(SystemExit) as ended:
        load_data.run_script(interrupted)
    assert ended.value.code == 130
    with pytest.raises(TypeError, match="a mistake of ours"):
        load_data.run_script(wrong)


def test_documented_attributes(prepared_survey: Survey):
    np.testing.assert_array_equal(load_data.train_ids, prepared_survey.train_ids)
    np.testing.assert_array_equal(load_data.test_ids, prepared_survey.test_ids)
    assert (load_data.num_train, load_data.num_test) == (30, 8)
    with pytest.raises(AttributeError, match="valid_ids"):
        load_data.valid_ids  # noqa: B018


def test_attributes_are_read_once_and_forgotten_with_the_folders(prepared_survey: Survey, tmp_path: Path):
    assert load_data.num_test == 8
    assert load_data.test_ids is load_data.test_ids
    path = prepared_survey.root / "data" / "test_ids.npy"
    load_data.save_array(path, prepared_survey.test_ids[:3])
    assert load_data.num_test == 8
    load_data.use_folders(prepared_survey.root)
    assert load_data.num_test == 3
    load_data.use_folders(tmp_path)
    with pytest.raises(load_data.DataError, match=r"run create_test_ids_file\.py first"):
        load_data.num_test  # noqa: B018


def test_solutions(prepared_survey: Survey):
    solutions = load_data.load_solutions()
    assert solutions.dtype == np.float32
    np.testing.assert_array_equal(solutions, prepared_survey.votes.astype(np.float32))


@pytest.mark.parametrize(("num_train", "num_valid"), [(10, 1), (19, 1), (30, 3), (61578, 6157)])
def test_split_keeps_the_last_tenth_for_validation(num_train: int, num_valid: int):
    train, valid = load_data.split(num_train)
    assert len(valid) == num_valid
    np.testing.assert_array_equal(np.concatenate([train, valid]), np.arange(num_train))


def test_split_of_too_few():
    with pytest.raises(load_data.DataError, match=r"at least 10 training galaxies.*got 9"):
        load_data.split(9)


def test_solutions_csv(survey: Survey):
    ids, votes = load_data.read_solutions_csv()
    assert (ids.dtype, votes.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(ids, survey.train_ids)
    np.testing.assert_array_equal(votes, survey.votes)


def test_image_as_another_decoder_sees_it(survey: Survey):
    image = load_data.load_image(survey.train_ids[3], normalise=False)
    with Image.open(survey.raw / "images_train_rev1" / f"{survey.train_ids[3]}.jpg") as picture:
        expected = np.array(picture.convert("RGB"))
    assert image.shape == (424, 424, 3)
    assert image.dtype == np.uint8
    # Both decoders round their inverse cosine transform and colour conversion, each in its way.
    assert np.abs(image.astype(int) - expected).max() <= 2
    assert image.max() > 90


def test_image_has_rows_first_and_red_first(survey: Survey):
    picture = np.zeros((424, 424, 3), np.uint8)
    picture[:100, 200:] = 255, 0, 0
    write_jpeg(survey.raw / "images_test_rev1" / "5.jpg", picture)
    image = load_data.load_image(5, "test", normalise=False)
    assert image[50, 300, 0] > 240 and image[50, 300, 1:].max() < 15
    assert image[300, 50].max() < 15


def test_image_normalised(survey: Survey):
    raw = load_data.load_image(100, "test", normalise=False)
    image = load_data.load_image(100, "test")
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    np.testing.assert_array_equal(image, raw.astype(np.float32) / np.float32(255))


def test_images_stacked(survey: Survey):
    images = load_data.load_images(survey.test_ids[:3], "test")
    assert images.shape == (3, 424, 424, 3)
    np.testing.assert_array_equal(images[1], load_data.load_image(survey.test_ids[1], "test"))


def test_image_from_ram(survey: Survey, tmp_path: Path):
    ram = tmp_path / "ram"
    shutil.copytree(survey.raw / "images_test_rev1", ram / "images_test_rev1")
    shutil.copy(ram / "images_test_rev1" / "7.jpg", ram / "images_test_rev1" / "31.jpg")
    load_data.adopt(load_data.Folders(root=survey.root, ram=ram))
    np.testing.assert_array_equal(
        load_data.load_image(31, "test", from_ram=True), load_data.load_image(7, "test", from_ram=False)
    )
    with pytest.raises(load_data.DataError, match="missing"):
        load_data.load_image(survey.train_ids[0], from_ram=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_gz_round_trip(tmp_path: Path, dtype: type):
    array = np.random.default_rng(0).uniform(0, 200, size=(7, 3)).astype(dtype)
    path = tmp_path / "a" / "new" / "folder" / "array.npy.gz"
    load_data.save_gz(path, array)
    loaded = load_data.load_gz(path)
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, array)
    with gzip.open(path) as file:
        np.testing.assert_array_equal(np.load(file), array)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_gz_needs_its_ending(tmp_path: Path):
    with pytest.raises(load_data.DataError, match=r"ends with \.npy\.gz"):
        load_data.save_gz(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(load_data.DataError, match=r"ends with \.npy\.gz"):
        load_data.load_gz(tmp_path / "array.gz")


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
    load_data.save_gz(path, values)
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.raises(load_data.DataError, match=r"(?s)array\.npy\.gz is no NumPy array.*run it\.py again"):
        load_data.load_array(path, "it.py")


def test_arrays_of_objects_are_refused(tmp_path: Path):
    np.save(tmp_path / "array.npy", np.array([{}], dtype=object))
    with pytest.raises(load_data.DataError, match="is no NumPy array"):
        load_data.load_array(tmp_path / "array.npy", "it.py")


BUFFERS = {
    "process": lambda source, **sizes: load_data.buffered_gen_mp(source, sleep_time=0.05, **sizes),
    "thread": load_data.threaded_gen,
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


def test_buffer_of_nothing(buffered):
    assert list(buffered(iter(()))) == []


def test_buffer_of_large_arrays(buffered):
    def source():
        for number in range(4):
            yield np.full((500, 1000), number, np.float32), number

    numbers = []
    for array, number in buffered(source()):
        assert (array == number).all() and array.shape == (500, 1000)
        numbers.append(number)
    assert numbers == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [load_data.DataError("image 7 is missing"), ValueError("image 7 is missing")])
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


def test_buffer_runs_ahead_only_as_far_as_it_is_long():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    items = load_data.threaded_gen(source(), buffer_size=3)
    assert next(items) == 0
    assert len(made) <= 1 + 3 + 1
    items.close()


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_process_ends_when_its_consumer_stops_early(size: int):
    def source():
        while True:
            yield os.getpid(), bytes(size)

    items = load_data.buffered_gen_mp(source(), sleep_time=0.05)
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

    items = load_data.threaded_gen(source())
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
        return consumer.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        consumer.kill()
        consumer.wait()
        consumer.stdout.close()
        consumer.stderr.close()
        pytest.fail("the program or a child of it still runs")


SLOW_SOURCE = """
import os, signal, time
import load_data

def source():
    yield os.getpid()
    time.sleep(600)
"""
LARGE_SOURCE = """
import os, signal, time
import load_data

def source():
    yield os.getpid()
    while True:
        yield bytes(10_000_000)
"""


@pytest.mark.parametrize("source", [SLOW_SOURCE, LARGE_SOURCE], ids=["slow", "large"])
def test_process_vanishes_when_its_consumer_is_killed(source: str):
    code = source + "items = load_data.buffered_gen_mp(source())\nprint(next(items), flush=True)\ntime.sleep(600)\n"
    consumer = start_consumer(code)
    assert int(consumer.stdout.readline()) != consumer.pid
    consumer.kill()
    finish(consumer)
    assert consumer.returncode == -signal.SIGKILL


@pytest.mark.parametrize("source", [SLOW_SOURCE, LARGE_SOURCE], ids=["slow", "large"])
def test_consumer_learns_that_its_process_was_killed(source: str):
    code = source + (
        "items = load_data.buffered_gen_mp(source(), sleep_time=0.1)\n"
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


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "00:00:00"), (59.9, "00:00:59"), (61, "00:01:01"), (3600, "01:00:00"), (67 * 3600 + 125, "67:02:05")],
)
def test_hms(seconds: float, written: str):
    assert load_data.hms(seconds) == written


def test_importing_reads_nothing(tmp_path: Path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import load_data; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_columns_of_the_table_are_the_trees(survey: Survey):
    header = survey.csv.read_text().splitlines()[0]
    assert header == ",".join(("GalaxyID", *decision_tree.COLUMN_NAMES))
