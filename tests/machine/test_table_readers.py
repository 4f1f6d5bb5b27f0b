"""Hostile tables are refused, or read within limits."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tiny import ROOT

from machine import tables
from machine.files import DataError
from machine.table_readers import names_of, read

VOTABLE = """<?xml version="1.0"?>{entity}
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE{rows}>
<FIELD name="id_str" datatype="char" arraysize="{size}"/><DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>"""
ROWS = "<TABLEDATA><TR><TD>a</TD></TR></TABLEDATA>"
PARTS = {"entity": "", "rows": "", "size": "*", "data": ROWS}


def test_named_columns_are_returned(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("a, b ,c\n1,2,3\n4,5,6\n")
    assert names_of(path, "csv") == ["a", "b", "c"]
    columns = read(path, "csv", ["c", "b"], True)
    assert {name: column.values.tolist() for name, column in columns.items()} == {"c": ["3", "6"], "b": ["2", "5"]}


def test_a_packed_table_is_read(tmp_path: Path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,x\n2,y\n"))
    assert tables.read_columns(path)["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"entity": '<!DOCTYPE VOTABLE [<!ENTITY a "aaaa">]>'}, "defines entities"),
        ({"rows": ' nrows="1000000000"'}, "announces 1000000000 rows"),
        ({"size": "100000x100000"}, "announces 100000x100000"),
        ({"data": '<BINARY><STREAM href="file:///dev/zero"/></BINARY>'}, "in another file"),
    ],
)
def test_a_hostile_votable_is_refused(tmp_path: Path, changes: dict[str, str], says: str):
    path = tmp_path / "a.vot"
    path.write_text(VOTABLE.format(**PARTS))
    assert tables.read_columns(path)["id_str"].tolist() == ["a"]
    path.write_text(VOTABLE.format(**PARTS | changes))
    with pytest.raises(DataError, match=says):
        tables.read_columns(path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_small_table_that_takes_much_memory_is_refused(tmp_path: Path):
    path = tmp_path / "a.parquet"
    words = pa.DictionaryArray.from_arrays(np.zeros(2**17, np.int32), pa.array(["x" * 2**12]))
    parquet.write_table(pa.table({"id_str": words}), path)
    # Memory that this process has freed is not counted, so a fresh one reads.
    code = """
import sys, pathlib
from machine import tables
tables._READ_BYTES = 2**26
tables.read_columns(pathlib.Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True)
    assert re.search(r"DataError: .*it takes more than \d+ MiB of memory", done.stderr)
