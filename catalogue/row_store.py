"""The rows of a catalogue, on disk in parts until the table is whole, so that a killed run resumes.

Each part is written whole or not at all and always holds the same rows: the table does not depend on how often the run
was killed. Parts of another run (other images, models or options) are removed.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from machine.files import remove_leftovers, replacing

ROWS_PER_PART = 128


class RowStore:
    """The parts of a catalogue of `num_rows` rows. Iterating yields their tables in order, one in memory at a time.

    `identity` names all that the rows depend on. `with_pictures`: each part also has a small picture of each row, in a
    separate file: pictures are not columns of the table.
    """

    def __init__(self, output: Path, identity: str, num_rows: int = 0, with_pictures: bool = False):
        self.folder = output.with_name(f".{output.name}.parts")
        self.num_rows = num_rows
        self.with_pictures = with_pictures
        self._note = self.folder / "identity.json"
        identity = f"{ROWS_PER_PART} rows a part, {'with' if with_pictures else 'without'} pictures, {identity}"
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
        return -(-self.num_rows // ROWS_PER_PART)

    def rows(self, index: int) -> tuple[int, int]:
        """Return the first row of a part, and the last + 1."""
        return index * ROWS_PER_PART, min((index + 1) * ROWS_PER_PART, self.num_rows)

    def _path(self, index: int, content: str = "") -> Path:
        return self.folder / f"{index:06d}{content}.parquet"

    @property
    def missing(self) -> list[int]:
        """The parts that are not written yet."""
        return [index for index in range(len(self)) if not self._path(index).is_file()]

    def save(self, index: int, table: pa.Table, pictures: Sequence[bytes | None] = ()) -> None:
        """Write a part: its rows, and their pictures where the store keeps them."""
        if self.with_pictures:
            # First: a part counts as written once it has its rows.
            column = pa.table({"picture": pa.array(pictures, pa.binary())})
            with replacing(self._path(index, ".pictures")) as temporary:
                parquet.write_table(column, temporary)
        with replacing(self._path(index)) as temporary:
            parquet.write_table(table, temporary)

    def tables(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the parts in order, all columns or those that are named."""
        return (parquet.read_table(self._path(index), columns=names) for index in range(len(self)))

    def __iter__(self) -> Iterator[pa.Table]:
        return self.tables()

    def pictures(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """Yield the pictures of rows, in order; None where a row has none."""
        for index, group in groupby(rows, lambda row: row // ROWS_PER_PART):
            column = parquet.read_table(self._path(index, ".pictures"))["picture"]
            yield from (column[row - index * ROWS_PER_PART].as_py() for row in group)

    def remove(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)
