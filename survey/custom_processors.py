"""Chunks of examples from a custom processor class, as in the generators of 2014.

A custom processor class need not use Views. The worker processes call an instance with the index of an image, and copy
the returned views into the chunk. The class may draw from NumPy's global generator, as the classes of 2014 did: the
generator is seeded for each example by (seed, chunk, position), so that a chunk is the same for any number of workers.

Source: documentation of 2014, 3.2.2 (`processor_class`).
"""

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from machine import processes
from machine.files import first_line
from survey.chunk_workers import Workers
from survey.draws import Stream, generator, select_indices


@dataclass(frozen=True)
class Examples:
    """The images of a chunk: their indices (n,), and the keys (n, 4) that seed their draws."""

    indices: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice) -> "Examples":
        return Examples(self.indices[rows], self.keys[rows])


def draw(indices: np.ndarray, chunk_size: int, seed: int, chunk: int) -> Examples:
    """Draw the examples of chunk number `chunk` of the training galaxies `indices`, the same as `Views.draw`."""
    selected = select_indices(len(indices), chunk_size, generator(Stream.INDICES, seed, chunk))
    keys = [(Stream.PROCESSOR, seed, chunk, position) for position in range(chunk_size)]
    return Examples(indices[selected], np.array(keys))


@dataclass(frozen=True)
class Calls:
    """Makes examples by calling processor(index)."""

    processor: Callable[[int], object]

    def write_drawn(self, outs: Sequence[np.ndarray], examples: Examples) -> None:
        """Write the views of images, one row per image."""
        for row, (index, key) in enumerate(zip(examples.indices, examples.keys, strict=True)):
            self._write([out[row] for out in outs], self._call(index, key), index)

    def write_fixed(self, outs: Sequence[np.ndarray], indices: np.ndarray) -> None:
        """Write the views of images under fixed transforms, consecutive rows per image; the index seeds the draws."""
        num = len(outs[0]) // len(indices)
        for position, index in enumerate(indices):
            made = list(self._call(index, (Stream.PROCESSOR, 0, 0, index)))
            if len(made) != num:
                raise ValueError(f"{_name(self.processor)}: expected the views of {num} transforms, got {len(made)}")
            for row, views in enumerate(made, position * num):
                self._write([out[row] for out in outs], views, index)

    def _call(self, index: int, key: Sequence[int]) -> object:
        np.random.seed(np.random.SeedSequence(key).generate_state(8))  # noqa: NPY002 (custom processors draw from it)
        return self.processor(int(index))

    def _write(self, outs: Sequence[np.ndarray], views: object, index: int) -> None:
        expected = [out.shape for out in outs]
        try:
            got = [np.shape(view) for view in views]
        except (TypeError, ValueError):
            got = type(views).__name__
        if got != expected:
            raise ValueError(
                f"{_name(self.processor)}: expected views of the shapes {expected} of image {index}, got {got!s:.200}"
            )
        for out, view in zip(outs, views, strict=True):
            out[:] = view


def _name(processor: object) -> str:
    return type(processor).__name__


def check(processor: object, workers: Workers) -> None:
    """Raise TypeError if a processor is not callable, or cannot be sent to worker processes."""
    if not callable(processor):
        raise TypeError(f"expected a callable processor, got an instance of {_name(processor)}")
    problem = ""
    try:
        pickle.dumps(processor)
    except Exception as error:  # a custom class can raise any error when it is pickled
        problem = first_line(error)
    forked = (workers.start_method or processes.default_start_method()) == "fork"
    if not forked and type(processor).__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        problem = "it is not defined in a file"
    if problem:
        raise TypeError(
            f"{_name(processor)} cannot be sent to worker processes ({problem}); define it at the top of a module, "
            "without attributes that cannot be pickled (open files, locks, nested functions)"
        )
