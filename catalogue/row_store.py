"""The rows of a catalogue, on disk in parts until the table is whole, so that a killed run resumes.

Each part is written whole or not at all and always holds the same rows: the table does not depend on how often the run
was killed. Parts of another run (other images, models or options) and damaged parts are removed and made again. The
folder of the parts holds files of this project only; others are never removed.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from machine import seals
from machine.files import DataError, open_file, read_text, remove_leftovers, replacing, shown
from machine.seals import Seal
from machine.table_writers import SEAL

ROWS_PER_PART = 128
# Files of a store, and of the fields in it: parts, tiles, decoded pixels; temporary files of any of these.
_OWN = re.compile(
    r"(field-\d{6}/)?\.?(identity\.json|\d{6}(\.pictures)?\.parquet|tile-\d{6}\.npz|(pixels|missing)\.npy)"
    r"(\.\d+(@[0-9a-f]+)?\.part)?"
)


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
        self._source = seals.source_of(identity)
        self._check_folder()
        if self._read_note() != identity:
            self.remove()
            with replacing(self._note) as temporary:
                temporary.write_text(json.dumps(identity))
        remove_leftovers(self._note, self.folder / "*.parquet")

    def _check_folder(self) -> None:
        """Raise DataError where the folder is a link, or holds files that are not of this project."""
        if self.folder.is_symlink():
            raise DataError(f"{shown(self.folder)} is a link; move it away, or name another output")
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if not path.is_dir())
        if (other := next((file for file in files if not _OWN.fullmatch(file.as_posix())), None)) is not None:
            raise DataError(
                f"{shown(self.folder)} holds {shown(other)}, which is not of this project; move it away, or name "
                "another output"
            )

    def _read_note(self) -> str | None:
        try:
            return json.loads(read_text(self._note, "delete it"))
        except (DataError, ValueError, RecursionError):
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
        """The parts that are not written yet, or are damaged."""
        contents = ("", ".pictures") if self.with_pictures else ("",)
        return [i for i in range(len(self)) if not all(self._is_whole(self._path(i, each)) for each in contents)]

    def _is_whole(self, path: Path) -> bool:
        return seals.read(path) == Seal(self._source)

    def save(self, index: int, table: pa.Table, pictures: Sequence[bytes | None] = ()) -> None:
        """Write a part: its rows, and their pictures where the store keeps them."""
        if self.with_pictures:
            # First: a part counts as written once it has its rows.
            self._write(self._path(index, ".pictures"), pa.table({"picture": pa.array(pictures, pa.binary())}))
        self._write(self._path(index), table)

    def _write(self, path: Path, table: pa.Table) -> None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), SEAL: seals.blank(self._source)})
        # A file, since pyarrow takes names of UTF-8 only.
        with replacing(path, sealed=True) as temporary, temporary.open("wb") as file:
            parquet.write_table(table, file)

    def _read(self, path: Path, names: Sequence[str] | None = None) -> pa.Table:
        remedy = "delete it and run this again"
        with open_file(path, remedy) as file:
            if not self._is_whole(path):
                raise DataError(f"{shown(path)} is damaged; {remedy}")
            table = parquet.read_table(file, columns=names)
        return table.replace_schema_metadata({k: v for k, v in table.schema.metadata.items() if k != SEAL} or None)

    def tables(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the parts in order, all columns or those that are named; raises DataError for a damaged part."""
        return (self._read(self._path(index), names) for index in range(len(self)))

    def __iter__(self) -> Iterator[pa.Table]:
        return self.tables()

    def pictures(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """Yield the pictures of rows, in order; None where a row has none."""
        for index, group in groupby(rows, lambda row: row // ROWS_PER_PART):
            column = self._read(self._path(index, ".pictures"))["picture"]
            yield from (column[row - index * ROWS_PER_PART].as_py() for row in group)

    def remove(self) -> None:
        """Remove all parts, and the folder if nothing else is in it."""
        files = [path for path in self.folder.rglob("*") if _OWN.fullmatch(path.relative_to(self.folder).as_posix())]
        # The note last: without it, the parts that a kill leaves are of no run.
        for path in sorted(files, key=lambda path: path == self._note):
            path.unlink(missing_ok=True)
        for folder in (*self.folder.glob("field-*"), self.folder):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
