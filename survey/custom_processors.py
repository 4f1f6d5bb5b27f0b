"""Chunks made by calling an object with one image after the other, as the generators of 2014 did.

Whoever writes a class that loads and processes images need not know of views: an instance is called in the worker
processes, and what it returns is copied into the chunk. It may draw from NumPy's global generator, as the classes of
2014 did: that is seeded for each example by (seed, chunk, position), so that a chunk is the same for any number of
workers.

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
    """The images of a chunk, a row each: their indices (n,), and the keys (n, 4) of what is drawn for them."""

    indices: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice) -> "Examples":
        return Examples(self.indices[rows], self.keys[rows])


def draw(indices: np.ndarray, chunk_size: int, seed: int, chunk: int) -> Examples:
    """Draw the examples of chunk number `chunk` of the training galaxies `indices`, the same ones as `Views.draw`."""
    selected = select_indices(len(indices), chunk_size, generator(Stream.INDICES, seed, chunk))
    keys = [(Stream.PROCESSOR, seed, chunk, position) for position in range(chunk_size)]
    return Examples(indices[selected], np.array(keys))


@dataclass(frozen=True)
class Calls:
    """Makes examples by calls of a processor: with the index of an image, and what else it is to be told."""

    processor: Callable[..., object]
    arguments: tuple[object, ...] = ()

    def write_drawn(self, outs: Sequence[np.ndarray], examples: Examples) -> None:
        """Write the views of images, a row each."""
        for row, (index, key) in enumerate(zip(examples.indices, examples.keys, strict=True)):
            self._write([out[row] for out in outs], self._call(index, key), index)

    def write_fixed(self, outs: Sequence[np.ndarray], indices: np.ndarray) -> None:
        """Write the views of images under fixed transforms, all of an image together; draws depend on its index."""
        num = len(outs[0]) // len(indices)
        for position, index in enumerate(indices):
            made = list(self._call(index, (Stream.PROCESSOR, 0, 0, index)))
            if len(made) != num:
                raise ValueError(f"{_name(self.processor)}: expected the views of {num} transforms, got {len(made)}")
            for row, views in enumerate(made, position * num):
                self._write([out[row] for out in outs], views, index)

    def _call(self, index: int, key: Sequence[int]) -> object:
        np.random.seed(np.random.SeedSequence(key).generate_state(8))  # noqa: NPY002 (it is what is drawn from)
        return self.processor(int(index), *self.arguments)

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
    """Raise TypeError where a processor can not be called, or not be sent to worker processes."""
    if not callable(processor):
        raise TypeError(f"expected a processor that can be called, got one of class {_name(processor)}")
    problem = ""
    try:
        pickle.dumps(processor)
    except Exception as error:  # what is pickled may raise anything
        problem = first_line(error)
    forked = (workers.start_method or processes.default_start_method()) == "fork"
    if not forked and type(processor).__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        problem = "it was typed in, and is in no file"
    if problem:
        raise TypeError(
            f"{_name(processor)} can not be sent to worker processes ({problem}); define it at the top of a module, "
            "and keep nothing in it that can not be pickled: open files, locks, functions within functions"
        )
