"""Unfinished predictions on disk: the rows so far, and shards, made anywhere and merged to the same bytes.

A shard is a range of whole chunks of the galaxies in their order. So each galaxy goes through the network with the same
neighbours as without shards: the size of a batch changes the last digit. The file of a shard describes its content.
"""

import contextlib
import dataclasses
import time
from pathlib import Path

import numpy as np

from machine.arrays import load_named, save_named
from machine.files import DataError, first_line, remove_leftovers


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `shard_index` of `num_shards`, counted from 1: the rows `first` to `stop` of `total`.

    `identity` is a checksum of what the predictions depend on.
    """

    shard_index: int
    num_shards: int
    identity: str
    first: int
    stop: int
    total: int

    @classmethod
    def cut(cls, shard_index: int, num_shards: int, identity: str, total: int, images_a_chunk: int) -> "Shard":
        """Return a shard of `total` images: whole chunks, or no image if there are fewer chunks than shards."""
        num_chunks = -(-total // images_a_chunk)
        ends = [min(end * num_chunks // num_shards * images_a_chunk, total) for end in (shard_index - 1, shard_index)]
        return cls(shard_index, num_shards, identity, *ends, total)

    @property
    def name(self) -> str:
        return f"{self.shard_index}/{self.num_shards}"

    @property
    def key(self) -> str:
        """The identity of the rows of an unfinished shard."""
        return f"{self.identity} {self.first}-{self.stop}"

    def path(self, product: Path) -> Path:
        """Return the path of the shard's file, beside the product `NAME.npy.gz` of all shards."""
        return shard_path(product, self.shard_index, self.num_shards)

    def save(self, product: Path, rows: np.ndarray) -> None:
        """Write its predictions (stop - first, answers), whole or not at all."""
        values = {_FIELD_NAMES.get(name, name): np.array(value) for name, value in dataclasses.asdict(self).items()}
        save_named(self.path(product), rows=rows, **values)

    def is_made(self, product: Path) -> bool:
        """Return whether the shard's file exists and holds this shard."""
        try:
            return self.path(product).exists() and _read(self.path(product))[0] == self
        except DataError:
            return False


def shard_path(product: Path, shard_index: int, num_shards: int) -> Path:
    """Return the file of a shard of a product `NAME.npy.gz`."""
    stem = product.name.removesuffix(".npy.gz")
    return product.with_name(f"{stem}.{shard_index}of{num_shards}.npz")


# Names of the fields in a shard's file, where they differ.
_FIELD_NAMES = {"shard_index": "number", "num_shards": "of"}


def _read(path: Path) -> tuple[Shard, np.ndarray]:
    """Read a shard and its rows; raises DataError if the file is not a shard."""
    try:
        file = load_named(path)
        names = [field.name for field in dataclasses.fields(Shard)]
        shard = Shard(**{name: file[_FIELD_NAMES.get(name, name)].item() for name in names})
        rows = file["rows"]
        if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != shard.stop - shard.first:
            raise ValueError(f"expected floats ({shard.stop - shard.first}, answers), got {rows.shape}")
    except Exception as error:  # a damaged file can raise any exception
        raise DataError(f"{path} is not a shard ({first_line(error)}); make it again with --shard") from None
    return shard, rows


def merge(product: Path, shards: list[Shard]) -> np.ndarray:
    """Read all these shards of a product and return their predictions (n, answers).

    Raises DataError, with the file's name, if a shard is missing or the file holds another shard or other predictions.
    """
    return np.concatenate([_rows_of(shard, product) for shard in shards])


def _rows_of(expected: Shard, product: Path) -> np.ndarray:
    path, remedy = expected.path(product), f"make it again with --shard {expected.name}"
    if not path.exists():
        raise DataError(f"{path} is missing; make it with --shard {expected.name}")
    shard, rows = _read(path)
    if shard.name != expected.name:
        raise DataError(f"{path} holds shard {shard.name} again, expected {expected.name}; {remedy}")
    if shard.identity != expected.identity:
        raise DataError(f"{path} belongs to another training, other images or another precision; {remedy}")
    if shard != expected:
        raise DataError(
            f"{path} holds the images {shard.first} to {shard.stop} of {shard.total}, expected {expected.first} to "
            f"{expected.stop} of {expected.total}; make and merge all shards with the same --chunk-size"
        )
    return rows


def partial_path(product: Path) -> Path:
    """Return the file with the rows so far of an unfinished file of predictions or of a shard."""
    return product.with_name(product.name.removesuffix(".npy.gz") + ".partial.npz")


class PredictionStore:
    """The rows so far of an unfinished file of predictions, beside that file.

    `identity` is a checksum of what the rows depend on. As a context manager, it saves the rows when an error or a
    signal ends the block.
    """

    # Seconds of work that an interruption may cost.
    INTERVAL = 20.0

    def __init__(self, product: Path, identity: str, num_answers: int):
        self.path, self.num_answers = partial_path(product), num_answers
        self.identity, self.saved = identity, time.monotonic()
        self.unsaved: np.ndarray | None = None
        remove_leftovers(product, self.path)

    def __enter__(self) -> "PredictionStore":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            with contextlib.suppress(DataError):  # the first error says more
                self._write()

    def restore(self) -> np.ndarray:
        """Return the rows so far (n, answers) float32; without rows of these predictions, n is 0."""
        empty = np.empty((0, self.num_answers), np.float32)
        try:
            file = load_named(self.path)
            identity, rows = str(file["identity"]), file["rows"]
            if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != self.num_answers:
                return empty
        except Exception:  # a damaged file can raise any exception; its rows can be made again
            return empty
        if identity != self.identity:
            return empty
        print(f"resuming from {self.path}: {len(rows)} rows done")
        return rows

    def save(self, rows: np.ndarray) -> None:
        """Take all rows so far; write them at most once in INTERVAL seconds."""
        self.unsaved = rows
        if time.monotonic() - self.saved >= self.INTERVAL:
            self._write()

    def _write(self) -> None:
        if self.unsaved is None:
            return
        save_named(self.path, identity=np.array(self.identity), rows=self.unsaved)
        self.saved, self.unsaved = time.monotonic(), None

    def clear(self) -> None:
        """Remove the rows: their file is finished."""
        self.unsaved = None
        self.path.unlink(missing_ok=True)
