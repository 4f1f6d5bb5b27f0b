"""Chunks are the same however they are made, and what ends a worker ends their generator."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from tiny import draws_of

import realtime_augmentation as ra
from machine.files import DataError
from survey import chunk_workers
from survey.chunk_workers import Layout, Workers
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

ONE = Workers(1)


def chunks_of(
    num_chunks: int, workers: Workers = ONE, chunk_size: int = 40, first_chunk: int = 0
) -> Iterator[tuple[list[np.ndarray], object]]:
    draws = draws_of(BEST.views, num_chunks, chunk_size, first_chunk)
    return chunk_workers.drawn_chunks(BEST.views, draws, chunk_size, workers)


def assert_same_chunks(ours: Iterator, theirs: Iterator) -> None:
    for (arrays, draw), (expected, expected_draw) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(draw.indices, expected_draw.indices)
        for array, other in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.usefixtures("prepared_survey")
class TestDrawnChunks:
    def test_are_the_same_for_any_number_of_workers_and_start_method(self):
        one = list(chunks_of(2, Workers(1, "fork")))
        for num_workers, start_method in ((2, "fork"), (3, "fork"), (1, "spawn"), (2, "spawn"), (2, "forkserver")):
            assert_same_chunks(chunks_of(2, Workers(num_workers, start_method)), one)

    def test_differ_from_chunk_to_chunk_and_resume(self):
        chunks = list(chunks_of(3))
        assert not np.array_equal(chunks[0][0][0], chunks[1][0][0])
        assert_same_chunks(chunks_of(2, first_chunk=1), chunks[1:])

    def test_reused_buffers_hold_the_same_until_the_next_but_one(self):
        expected = [arrays for arrays, _ in chunks_of(3)]
        for arrays, (views, _) in zip(expected, chunks_of(3, Workers(1, reuse_buffers=True)), strict=True):
            np.testing.assert_array_equal(views[0], arrays[0])

    def test_the_next_chunk_is_made_while_this_one_is_used(self):
        gen = chunks_of(2, chunk_size=4)
        next(gen)
        buffer = gen.gi_frame.f_locals["buffer"]
        assert buffer.tasks
        for task in buffer.tasks:
            task.result(timeout=30)  # done though nobody asked for the second chunk yet
        gen.close()

    def test_a_dead_worker_ends_the_run(self):
        gen = chunks_of(1000, Workers(2), chunk_size=200)
        next(gen)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        with pytest.raises(
            BrokenProcessPool,
            match=r"a smaller --chunk-size \(the number of examples stays the same\) or fewer --num-workers",
        ):
            for _ in range(20):
                next(gen)
        assert not multiprocessing.active_children()

    def test_a_bad_image_s_error_comes_through(self, prepared_survey):
        for path in (prepared_survey.raw / "images_train_rev1").glob("*.jpg"):
            path.write_bytes(b"not a JPEG")
        with pytest.raises(DataError, match="cannot be decoded as a JPEG"):
            next(chunks_of(1))


@pytest.mark.usefixtures("prepared_survey")
class TestFixedChunks:
    def test_are_the_same_for_any_number_of_workers(self):
        transforms = ra.sixty_transforms()[:4]

        def chunks(num_workers: int) -> list:
            workers = Workers(num_workers)
            return list(chunk_workers.fixed_chunks(BEST.views, np.arange(8), "test", transforms, 22, workers))

        for (arrays, length), (expected, expected_length) in zip(chunks(1), chunks(3), strict=True):
            assert length == expected_length
            np.testing.assert_array_equal(arrays, expected)

    def test_a_chunk_too_small_for_one_image_is_refused(self):
        gen = chunk_workers.fixed_chunks(BEST.views, np.arange(2), "test", ra.sixty_transforms(), 59, Workers(1))
        with pytest.raises(ValueError, match="at least 60, the transforms of one image, got 59"):
            next(gen)

    def test_nothing_selected_yields_nothing(self):
        gen = chunk_workers.fixed_chunks(BEST.views, np.arange(0), "test", [ra.tform_identity], 4, Workers(1))
        assert list(gen) == []


def test_a_layout_maps_two_chunks_that_share_no_memory():
    layout = Layout(5, [(2, 3), (4,)], dtype=np.uint8)
    assert layout.num_bytes == 5 * (6 + 4)
    memory = bytearray(2 * layout.num_bytes)
    chunks = layout.map(memory)
    assert [[array.shape for array in chunk] for chunk in chunks] == [[(5, 2, 3), (5, 4)]] * 2
    for number, array in enumerate(array for chunk in chunks for array in chunk):
        array[:] = number + 1
    assert memory == bytes([1] * 30 + [2] * 20 + [3] * 30 + [4] * 20)


@pytest.mark.parametrize(("num", "num_workers"), [(1, 4), (24, 2), (200, 3), (10000, 8)])
def test_all_workers_have_tasks_of_a_bounded_size(num, num_workers):
    buffer = chunk_workers.DoubleBuffer(print, Layout(1, [(1,)]), bytearray(8), None, num_workers)
    size = buffer.task_size(num)
    assert 1 <= size <= 64
    assert -(-num // size) >= min(num, num_workers)


def test_loading_a_large_survey_keeps_sixteen_workers_busy():
    class Executor:
        """Notes what would be in flight at once."""

        def __init__(self) -> None:
            self.pieces: list[np.ndarray] = []

        def submit(self, run: object, which: int, rows: slice, make: object, plan: np.ndarray) -> None:
            assert rows.stop - rows.start == len(plan)
            self.pieces.append(plan)

    piece = 256  # images that travel to a device at a time
    layout = Layout(piece, [(2, 2, 3)], dtype=np.uint8)
    for indices in np.split(np.arange(61_578), range(piece, 61_578, piece)):
        executor = Executor()
        memory = np.zeros(2 * layout.num_bytes, np.uint8)
        buffer = chunk_workers.DoubleBuffer(lambda outs, plan: None, layout, memory, executor, num_workers=16)
        buffer.submit(indices)
        np.testing.assert_array_equal(np.concatenate(executor.pieces), indices)
        assert len(executor.pieces) >= 16
        assert max(map(len, executor.pieces)) <= 2 * -(-len(indices) // 32)
