"""What ends with an error when something dies or runs out, soon, in one clear line, and with nothing left running."""

import dataclasses
import errno
import gc
import mmap
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import cv2
import numpy as np
import pytest
import torch
from tiny import (
    CPU,
    OPTIONS,
    PARAMS,
    ROOT,
    SIX_CHUNKS,
    SIZES,
    TINY,
    VIEWS,
    assert_same_result,
    draws_of,
    run,
    wait_for_end_of_session,
)

import load_data
import realtime_augmentation as ra
from engine import checkpoints, device_augmentation, training
from engine.prediction_shards import PredictionStore
from machine import memory, processes
from machine.files import DataError
from machine.signals import StopRequest, ending_in_order
from survey import chunk_workers, decoded_cache, folders, images
from survey.chunk_workers import Workers
from survey.views import Views
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, reads /proc")

# Seconds after which a wait that should have ended is an error.
LONG = 300


@pytest.fixture(autouse=True)
def no_wait_is_endless() -> Iterator[None]:
    """Raise TimeoutError in the middle of whatever waits too long."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"still waiting after {LONG} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()


def kill_a_worker() -> None:
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_warp(*_: object) -> None:
    die()


def hungry_warp(*_: object) -> None:
    """Need more memory than a worker may have."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    np.ones(8 << 30, np.uint8)


def warp_hungry_for_opencv(*_: object) -> None:
    error = cv2.error("no memory")
    error.code, error.err = cv2.Error.StsNoMem, "Failed to allocate 8 bytes"
    raise error


def views_by(warp: Callable[..., None]) -> Views:
    return dataclasses.replace(BEST.views, warp=warp)


def drawn(num_workers: int, chunk_size: int, num_chunks: int = 1000, views: Views = BEST.views) -> Iterator:
    """Yield chunks of training examples, as training does."""
    draws = draws_of(views, num_chunks, chunk_size)
    return chunk_workers.drawn_chunks(views, draws, chunk_size, Workers(num_workers))


@pytest.mark.usefixtures("prepared_survey")
class TestDeadWorkers:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_fixed_chunks(self, monkeypatch, number):
        monkeypatch.setattr(sys.modules[__name__], "die", lambda: os.kill(os.getpid(), number))
        views = views_by(dying_warp)
        gen = chunk_workers.fixed_chunks(views, np.arange(8), "test", [ra.tform_identity], 4, Workers(2))
        with pytest.raises(BrokenProcessPool, match=r"a worker process died.*--chunk-size .* or fewer --num-workers"):
            next(gen)

    def test_streaming_to_the_device(self):
        source = device_augmentation.Images("train", CPU, num_workers=2, resident=False)
        gen = device_augmentation.drawn_chunks(source, BEST.views, draws_of(BEST.views, 1000, 300), 300)
        next(gen)
        kill_a_worker()
        with pytest.raises(BrokenProcessPool, match="a worker process died"):
            for _ in range(50):
                next(gen)

    def test_decoding(self, monkeypatch, tmp_path):
        folders.adopt(dataclasses.replace(folders.current, ram=tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr(images, "read_image", die)
            with pytest.raises(BrokenProcessPool, match=r"a worker process died.*fewer --num-workers"):
                decoded_cache.build("train", 2)
        assert decoded_cache.find("train") is None
        decoded_cache.build("train", 2)
        np.testing.assert_array_equal(
            decoded_cache.find("train")[3], load_data.load_image(load_data.train_ids[3], normalise=False)
        )

    def test_a_map(self):
        with (
            pytest.raises(BrokenProcessPool, match="a worker process died"),
            processes.mapping(2, 1) as each,
        ):
            list(each(die, range(9)))

    def test_while_the_parent_notes_signals(self):
        """Forked workers inherit the handler; those that are left are to end nevertheless."""
        gen = drawn(3, 400)
        with StopRequest(), pytest.raises(BrokenProcessPool):
            next(gen)
            kill_a_worker()
            for _ in range(9):
                next(gen)

    def test_a_process_that_can_not_be_started_leaves_none_waiting(self, monkeypatch):
        fork, count = os.fork, 0

        def second_fails() -> int:
            nonlocal count
            count += 1
            if count == 2:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return fork()

        monkeypatch.setattr(os, "fork", second_fails)
        with pytest.raises(DataError, match=r"cannot be started \(Resource temp.*fewer --num-workers"):
            next(drawn(3, 4))
        assert count == 2


@pytest.mark.usefixtures("prepared_survey")
class TestWantOfMemory:
    @pytest.mark.parametrize("warp", [hungry_warp, warp_hungry_for_opencv])
    def test_in_a_worker_names_the_flags(self, warp):
        gen = drawn(2, 4, views=views_by(warp))
        with pytest.raises(DataError, match=r"memory ran out .*allocate .*--chunk-size .* or fewer --num-w"):
            next(gen)

    def test_chunks_larger_than_memory_are_refused(self):
        gen = chunk_workers.drawn_chunks(BEST.views, iter([]), 2**34, Workers(1))
        with pytest.raises(
            DataError,
            match=r"expected .* GB .* for two chunks, .*--chunk-size \(the number of examples stays the same\)$",
        ):
            next(gen)

    def test_memory_that_is_refused_is_one_line(self, monkeypatch):
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        monkeypatch.setattr(mmap, "mmap", refuse)
        with pytest.raises(DataError, match=r"cannot be allocated \(.*Cannot allocate memory\); .*--chunk-size"):
            memory.take_shared(2**20, "fork", "a smaller --chunk-size")

    def test_a_small_ram_drive_is_named_where_chunks_live_in_files(self, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=9))
        with pytest.raises(DataError, match=r"free in /dev/shm or .*remount,size=.*--chunk-size"):
            memory.take_shared(2**20, "spawn", "a smaller --chunk-size")


def start_script(root: Path, body: str, *flags: object, before: tuple[str, ...] = ()) -> subprocess.Popen:
    """Start a script on a survey in a session of its own."""
    script = root / "script.py"
    script.write_text(f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n{body}")
    return subprocess.Popen(
        [*before, sys.executable, script, "--root", root, *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


TRAIN = "import tiny\nfrom engine import training\nif __name__ == '__main__': training.main(tiny.SIX_CHUNKS)\n"


def test_training_on_a_ram_drive_of_no_room(prepared_survey):
    """Containers have small ones; only the locks of the processes need it."""
    tiny = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=256k none /dev/shm && exec "$@"', "sh")
    if subprocess.run([*tiny, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    flags = ("--device", "cpu", "--num-workers", 2, "--num-chunks", 1, "--chunk-size", 200)
    process = start_script(prepared_survey.root, TRAIN, *flags, before=tiny)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 0, errors
    full = (*tiny[:4], 'mount -t tmpfs -o size=4k none /dev/shm && yes > /dev/shm/full; exec "$@"', "sh")
    process = start_script(prepared_survey.root, TRAIN, *flags, before=full)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 1
    assert "worker processes cannot be started (No space left on device)" in errors
    assert "Traceback" not in errors


@pytest.mark.usefixtures("prepared_survey")
class TestConsumers:
    def test_a_dropped_generator_ends_its_workers(self):
        gen = ra.realtime_augmented_data_gen(None, 40, PARAMS, VIEWS, SIZES, workers=Workers(2))
        next(gen)
        assert multiprocessing.active_children()
        del gen
        gc.collect()
        assert not multiprocessing.active_children()

    def test_an_orphan_ends_even_where_its_parent_died_before_it_looked(self):
        code = (
            "import multiprocessing, os, time\nfrom machine import processes\n"
            "def child():\n    time.sleep(1)\n    processes.exit_with_parent()\n    time.sleep(600)\n"
            "process = multiprocessing.get_context('fork').Process(target=child)\n"
            "process.start()\nos.kill(os.getpid(), 9)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
        process.wait(LONG)
        wait_for_end_of_session(process.pid)


class TestKeptWork:
    def test_a_worker_s_death_costs_no_step(self, prepared_survey, run_main, capsys):
        whole = run(run_main, prepared_survey, experiment=SIX_CHUNKS)
        folders.current.analysis("tiny").unlink()

        def kill_after_three(progress: checkpoints.Progress) -> None:
            if progress.chunk == 3:
                kill_a_worker()

        with pytest.raises(BrokenProcessPool, match="a worker process died"):
            training.train(SIX_CHUNKS, OPTIONS, on_chunk=kill_after_three)
        assert "the work so far is saved in" in capsys.readouterr().out
        assert_same_result(run(run_main, prepared_survey, experiment=SIX_CHUNKS), whole)
        assert "resuming from" in capsys.readouterr().out

    def test_a_signal_to_workers_too_is_a_request_to_stop(self, prepared_survey):
        def stop_all(_: checkpoints.Progress) -> None:
            for process in [*multiprocessing.active_children(), SimpleNamespace(pid=os.getpid())]:
                os.kill(process.pid, signal.SIGTERM)

        with pytest.raises(SystemExit) as stop:
            training.train(SIX_CHUNKS, OPTIONS, on_chunk=stop_all)
        assert stop.value.code == 75
        assert folders.current.checkpoints("tiny").is_dir()

    def test_parameters_that_are_not_finite_are_not_kept(self, prepared_survey):
        spoilt = training.Run.prepare(TINY, OPTIONS)
        spoilt.save()
        with torch.no_grad():
            spoilt.network.output_layer.input_layer.W.fill_(float("inf"))
        with pytest.raises(DataError, match=r"finite parameters.*last good checkpoint is .*000000-000000"):
            spoilt.save()

    def test_a_second_interrupt_while_saving_leaves_the_last_checkpoint(self, prepared_survey, monkeypatch):
        run_ = training.Run.prepare(TINY, OPTIONS)
        path = run_.save()
        before = path.read_bytes()

        def interrupted(state: dict, target: BinaryIO) -> None:
            target.write(b"half")
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(torch, "save", interrupted)
        with StopRequest(), pytest.raises(KeyboardInterrupt):
            run_.save()
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        assert path.read_bytes() == before

    def test_predictions_are_saved_whatever_the_interval(self, tmp_path):
        with (
            pytest.raises(SystemExit),
            PredictionStore(tmp_path / "a.npy.gz", "one", 37) as store,
            ending_in_order(),
        ):
            store.save(np.ones((2, 37), np.float32))
            assert not store.path.exists()
            os.kill(os.getpid(), signal.SIGTERM)
        assert len(PredictionStore(tmp_path / "a.npy.gz", "one", 37).restore()) == 2


EXTRACT = """
import os, signal
from machine.command_line import run_script
from survey import centering, pysex_params
measure, count = pysex_params.measure, 0
def stopping(channel, catalogue):
    global count
    count += 1
    if count == 8:
        os.kill(os.getpid(), signal.{name})
    return measure(channel, catalogue)
pysex_params.measure = stopping
if __name__ == "__main__":
    run_script(lambda: pysex_params.run(centering.GEN2_PARAMS, ""))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 75), ("SIGINT", 75), ("SIGUSR1", 75)])
def test_a_stopped_extraction_keeps_its_rows(prepared_survey, name, status):
    process = start_script(prepared_survey.root, EXTRACT.format(name=name), "--num-workers", 1)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == status, errors
    [remainder] = folders.current.data.glob(".*")
    assert len(np.load(remainder)) == 7
    wait_for_end_of_session(process.pid)
