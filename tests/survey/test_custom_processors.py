"""Custom processors: the calls, the seeds of NumPy's global generator, and the errors of wrong views."""

import numpy as np
import pytest

from survey import custom_processors
from survey.chunk_workers import Workers
from survey.custom_processors import Calls, Examples
from survey.draws import Stream, generator, select_indices


class Noisy:
    """Returns two views of (2, 2) and (3,): the index, and a number of NumPy's global generator."""

    def __call__(self, index: int, *arguments: object) -> list[np.ndarray]:
        return [np.full((2, 2), index), np.full(3, np.random.random())]  # noqa: NPY002 (as classes of 2014 do)


class Fixed(Noisy):
    """Returns the views of three transforms."""

    def __call__(self, index: int, *arguments: object) -> list[list[np.ndarray]]:
        return [super(Fixed, self).__call__(index) for _ in range(3)]


def buffers(num_rows: int) -> list[np.ndarray]:
    return [np.zeros((num_rows, 2, 2), np.float32), np.zeros((num_rows, 3), np.float32)]


def test_the_indices_of_a_draw_are_those_of_views():
    indices = np.arange(100, 120)
    examples = custom_processors.draw(indices, 12, seed=3, chunk=2)
    expected = indices[select_indices(20, 12, generator(Stream.INDICES, 3, 2))]
    np.testing.assert_array_equal(examples.indices, expected)
    np.testing.assert_array_equal(examples.keys, [(Stream.PROCESSOR, 3, 2, position) for position in range(12)])
    np.testing.assert_array_equal(examples[4:6].indices, expected[4:6])


def test_a_chunk_does_not_depend_on_its_division_into_tasks():
    examples = custom_processors.draw(np.arange(9), 6, seed=1, chunk=0)
    whole, pieces = buffers(6), buffers(6)
    Calls(Noisy()).write_drawn(whole, examples)
    for rows in (slice(3, 6), slice(0, 3)):
        Calls(Noisy()).write_drawn([out[rows] for out in pieces], examples[rows])
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(whole[0][:, 0, 0], examples.indices)
    assert len(set(whole[1][:, 0].tolist())) == 6


def test_fixed_views_of_an_image_are_consecutive_rows_and_seeded_by_its_index():
    outs, alone = buffers(6), buffers(3)
    Calls(Fixed()).write_fixed(outs, np.array([5, 8]))
    np.testing.assert_array_equal(outs[0][:, 0, 0], [5, 5, 5, 8, 8, 8])
    Calls(Fixed()).write_fixed(alone, np.array([8]))
    np.testing.assert_array_equal(alone[1], outs[1][3:])


def test_wrong_views_are_an_error_with_the_shapes():
    examples = Examples(np.array([7]), np.array([(Stream.PROCESSOR, 0, 0, 0)]))
    with pytest.raises(ValueError, match=r"Noisy: expected views .* \[\(4, 4\)\] of image 7, got \[\(2, 2\)"):
        Calls(Noisy()).write_drawn([np.zeros((1, 4, 4))], examples)
    with pytest.raises(ValueError, match=r"expected views of the shapes .* of image 7, got int"):
        Calls(lambda index: 1).write_drawn(buffers(1), examples)
    with pytest.raises(ValueError, match="Fixed: expected the views of 2 transforms, got 3"):
        Calls(Fixed()).write_fixed(buffers(2), np.array([1]))


def test_a_processor_must_be_callable_and_picklable():
    custom_processors.check(Noisy(), Workers())
    with pytest.raises(TypeError, match="expected a callable processor, got an instance of int"):
        custom_processors.check(3, Workers())
    with pytest.raises(TypeError, match=r"function cannot be sent to worker processes \(.*\); define it at the top"):
        custom_processors.check(lambda index: None, Workers())
