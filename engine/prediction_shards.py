"""Predictions in shards: made anywhere, in any order, and put together to the same bytes.

A shard is a run of whole chunks of the galaxies in their order, so that each galaxy goes through the network with the
same neighbours as without shards: how many go together shows in the last digit. Its file tells what it is of.
"""

import dataclasses
from pathlib import Path

import numpy as np

from galaxy.decision_tree import NUM_ANSWERS
from machine.files import DataError, first_line, replacing


@dataclasses.dataclass(frozen=True)
class Shard:
    """Number `number` of `of`, from 1: of predictions whose `identity` is a checksum of what they depend on.

    It has the rows `first` to `stop` of `total`.
    """

    number: int
    of: int
    identity: str
    first: int
    stop: int
    total: int

    @classmethod
    def cut(cls, number: int, of: int, identity: str, total: int, images_a_chunk: int) -> "Shard":
        """Return a shard of so many images: whole chunks of them, or none where there are fewer chunks than shards."""
        num_chunks = -(-total // images_a_chunk)
        ends = [min(index * num_chunks // of * images_a_chunk, total) for index in (number - 1, number)]
        return cls(number, of, identity, *ends, total)

    @property
    def name(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def key(self) -> str:
        """What the rows of another shard, begun and not finished, must have in common with this one."""
        return f"{self.identity} {self.first}-{self.stop}"

    def path(self, product: Path) -> Path:
        """Return its file, beside the product `NAME.npy.gz` that shards are put together to."""
        return product.with_name(f"{product.name.removesuffix('.npy.gz')}.{self.number}of{self.of}.npz")

    def save(self, product: Path, rows: np.ndarray) -> None:
        """Write its predictions (stop - first, 37), whole or not at all."""
        note = {name: np.array(value) for name, value in dataclasses.asdict(self).items()}
        with replacing(self.path(product)) as temporary, temporary.open("wb") as file:
            np.savez(file, rows=rows, **note)

    def is_made(self, product: Path) -> bool:
        """Say whether its file is there, and this very shard's."""
        try:
            return self.path(product).exists() and _read(self.path(product))[0] == self
        except DataError:
            return False


def _read(path: Path) -> tuple[Shard, np.ndarray]:
    """Read a shard and its rows; raises DataError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = Shard(**{field.name: file[field.name].item() for field in dataclasses.fields(Shard)})
            rows = file["rows"]
        if rows.dtype != np.float32 or rows.shape != (found.stop - found.first, NUM_ANSWERS):
            raise ValueError(f"expected floats ({found.stop - found.first}, {NUM_ANSWERS}), got {rows.shape}")
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path} is no shard ({first_line(error)}); make it again with --shard") from None
    return found, rows


def merge(product: Path, shards: list[Shard]) -> np.ndarray:
    """Return the predictions (n, 37) of shards, which are to be those in this list.

    Raises DataError, with the file, for one that is missing, that is there under another's name, too, or that is of
    other predictions.
    """
    return np.concatenate([_rows_of(shard, product) for shard in shards])


def _rows_of(shard: Shard, product: Path) -> np.ndarray:
    path, again = shard.path(product), f"make it again with --shard {shard.name}"
    if not path.exists():
        raise DataError(f"{path} is missing; make it with --shard {shard.name}")
    found, rows = _read(path)
    if (found.number, found.of) != (shard.number, shard.of):
        raise DataError(f"{path} is shard {found.name} a second time, expected {shard.name}; {again}")
    if found.identity != shard.identity:
        raise DataError(f"{path} is of another training, other images or another precision; {again}")
    if found != shard:
        raise DataError(
            f"{path} has the images {found.first} to {found.stop} of {found.total}, expected {shard.first} to "
            f"{shard.stop} of {shard.total}; make all shards with one --chunk-size, and put them together with it"
        )
    return rows
