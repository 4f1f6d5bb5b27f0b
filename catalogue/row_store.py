"""A long catalogue in parts beside its file, so that what is killed goes on where it was.

A part is written whole or not at all, and holds always the same rows: what is put together in the end does not tell how
often it was begun. Parts of another run (other images, models or options) are no use, and removed.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from machine.files import remove_leftovers, replacing

ROWS_A_PART = 128


class Parts:
    """The parts of a catalogue of `num_rows` rows; `identity` tells all that they depend on."""

    def __init__(self, output: Path, identity: str, num_rows: int):
        self.folder = output.with_name(f".{output.name}.parts")
        self.num_rows = num_rows
        self._note = self.folder / "identity.json"
        identity = f"{ROWS_A_PART} rows a part, {identity}"
        if self._read_note() != identity:
            self.remove()
            with replacing(self._note) as temporary:
                temporary.write_text(json.dumps(identity))
        remove_leftovers(self.folder / "*.parquet")

    def _read_note(self) -> str | None:
        try:
            return json.loads(self._note.read_text())
        except (OSError, ValueError):
            return None

    def __len__(self) -> int:
        return -(-self.num_rows // ROWS_A_PART)

    def rows(self, number: int) -> tuple[int, int]:
        """Return the first row of a part, and the last + 1."""
        return number * ROWS_A_PART, min((number + 1) * ROWS_A_PART, self.num_rows)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    @property
    def missing(self) -> list[int]:
        """The parts that are still to be made."""
        return [number for number in range(len(self)) if not self._path(number).is_file()]

    def save(self, number: int, table: pa.Table) -> None:
        """Write a part."""
        with replacing(self._path(number)) as temporary:
            parquet.write_table(table, temporary)

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the parts in order, one in memory at a time; as often as is asked."""
        return (parquet.read_table(self._path(number)) for number in range(len(self)))

    def remove(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)
