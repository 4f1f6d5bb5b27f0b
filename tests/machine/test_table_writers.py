"""One content in five formats, read back by the libraries that astronomers use."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table
from pyarrow import parquet

from machine import products, seals, table_writers, tables
from machine.files import DataError
from machine.passed_columns import arrow_array, passed_fields
from machine.products import is_own
from machine.table_cells import TableColumn

NAMES = [
    "plain.jpg",
    "with space.png",
    "quote'\"`.jpg",
    "new\nline.fits",
    "naïve Ω 星系.jpg",
    "<script>alert(1)</script>",
    "a\\nb",
    "tab\t,;#",
    "",
    "\udcff.jpg",
]


def content(num_batches: int = 3) -> tuple[pa.Schema, list[pa.Table]]:
    rng = np.random.default_rng(0)
    passed = passed_fields(
        {"ra": rng.random(len(NAMES)), "näme with ü": np.array(NAMES, dtype=object), "flag": np.arange(len(NAMES)),
         "good": np.arange(len(NAMES)) % 2 == 0},
        ["id_str", "file_loc", "fraction", "flag"],
    )  # fmt: skip
    schema = pa.schema(
        [
            tables.field("id_str", pa.string(), "identifier"),
            tables.field("file_loc", pa.string(), "file"),
            tables.field("fraction", pa.float32(), "a fraction of votes, with a long description " * 3),
            tables.field("radius", pa.float64(), "radius", "pix"),
            tables.field("flag", pa.int32(), "bits"),
            *(column for column, _ in passed),
        ],
        metadata={
            tables.PROVENANCE: json.dumps({"models": [{"name": "m", "sha256": "ab" * 32}], "text": "é"}).encode()
        },
    )
    fractions = rng.random(len(NAMES)).astype(np.float32)
    fractions[::3] = np.nan
    table = pa.table(
        [
            pa.array([f"{index:03d}" for index in range(len(NAMES))]),
            pa.array([tables.printable(name) for name in NAMES]),
            pa.array(fractions, from_pandas=True),
            pa.array(rng.normal(size=len(NAMES)) * 1e-7),
            pa.array(np.arange(len(NAMES), dtype=np.int32)),
            *(pa.array(values) for _, values in passed),
        ],
        schema=schema,
    )
    return schema, [table] * num_batches


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    schema, batches = content()
    for suffix in tables.SUFFIXES:
        table_writers.write(folder / f"a{suffix}", schema, batches, 3 * len(NAMES))
    return folder


def test_all_formats_have_the_same_content(written: Path):
    expected = tables.read_columns(written / "a.parquet")
    assert (
        list(expected["file_loc"])
        == [name.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass") for name in NAMES] * 3
    )
    for suffix in tables.SUFFIXES[1:]:
        found = tables.read_columns(written / f"a{suffix}")
        assert list(found) == list(expected)
        for name, values in expected.items():
            if values.dtype.kind == "f":
                np.testing.assert_array_equal(found[name].astype(values.dtype), values)
            else:
                assert list(found[name]) == list(values), (suffix, name)


def test_pandas_and_astropy_read_them_without_help(written: Path):
    frame = pandas.read_parquet(written / "a.parquet")
    assert len(pandas.read_csv(written / "a.csv")) == len(frame) == 3 * len(NAMES)
    for suffix in ("fits", "ecsv", "vot"):
        table = Table.read(written / f"a.{suffix}")
        assert len(table) == len(frame) and table.colnames == list(frame)
        assert str(table["radius"].unit) == "pix" and table["fraction"].unit is None
    assert np.isnan(frame["fraction"]).sum() == np.ma.getmaskarray(Table.read(written / "a.ecsv")["fraction"]).sum() > 0


def test_fits_tables_obey_the_rules_of_topcat(written: Path):
    with fits.open(written / "a.fits") as hdus:
        hdus.verify("exception")
        columns = hdus[1].columns
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in columns.names)
        assert len({name.lower() for name in columns.names}) == len(columns)
        assert all(re.fullmatch(r"\d*[ALJKED]", form) for form in columns.formats)
        assert hdus[1].header["NAXIS2"] == len(hdus[1].data) == 3 * len(NAMES)
        start = hdus[1].fileinfo()["datLoc"]
    assert (written / "a.fits").stat().st_size % 2880 == 0
    assert (written / "a.fits").read_bytes()[:start].isascii()


def test_each_format_stores_the_provenance(written: Path):
    digest = "ab" * 32
    assert tables.provenance(parquet.read_schema(written / "a.parquet"))["models"][0]["sha256"] == digest
    assert Table.read(written / "a.ecsv").meta["models"][0]["sha256"] == digest
    assert digest in str(fits.getheader(written / "a.fits", 1)["COMMENT"]).replace("\n", "")
    metadata = json.loads((written / "a.csv-metadata.json").read_text())
    assert metadata["provenance"]["models"][0]["sha256"] == digest
    assert {"name": "radius", "dc:description": "radius", "unit": "pix"} in metadata["tableSchema"]["columns"]


def test_a_table_without_rows_can_be_read(tmp_path: Path):
    schema, _ = content()
    for suffix in tables.SUFFIXES:
        table_writers.write(tmp_path / f"a{suffix}", schema, [], 0)
        assert all(len(values) == 0 for values in tables.read_columns(tmp_path / f"a{suffix}").values())


def test_the_catalogue_package_does_not_import_torch():
    command = (
        "import sys; import catalogue.rows, catalogue.model_file, galaxy.fits_images, predict_galaxies; "
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(tables.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", command], cwd=root, check=False).returncode == 0


def test_the_metadata_of_a_removed_csv_are_replaced(tmp_path: Path):
    schema, batches = content(1)
    path = tmp_path / "out.csv"
    table_writers.write(path, schema, batches, len(NAMES), seals.source_of("these images"))
    others = table_writers.products(path, seals.source_of("other images"))
    with pytest.raises(DataError, match=r"out\.csv exists, from other inputs"):
        products.check(others)
    path.unlink()
    products.check(table_writers.products(path, seals.source_of("other images")))
    path.with_name("out.csv-metadata.json").write_text("{}")
    with pytest.raises(DataError, match=r"metadata\.json exists and is not of this project"):
        products.check(table_writers.products(path, seals.source_of("other images")))


def test_a_sample_has_three_digits_and_exact_texts(tmp_path: Path):
    table = pa.table({"id_str": ["007", "a,b"], "fraction": pa.array([0.12345, np.nan], pa.float32()), "flag": [1, 20]})
    table_writers.write_sample(tmp_path / "sample.csv", table, tmp_path / "t.fits")
    assert (tmp_path / "sample.csv").read_text() == ('id_str,fraction,flag,sample_of\n007,0.123,1,t\n"a,b",,20,t\n')
    sample = table_writers.sample_product(tmp_path / "sample.csv", tmp_path / "t.fits")
    assert is_own(sample)
    assert not is_own(table_writers.sample_product(sample.path, tmp_path / "other.fits"))
    sample.path.write_text("id_str,file_loc\n1,a.jpg\n")
    assert not is_own(sample)


PASSED = {
    "objid": TableColumn(np.ma.MaskedArray([587722981736120347, 0, -(2**63)], [0, 1, 0]), "", "SDSS DR7 id"),
    "small": TableColumn(np.ma.MaskedArray(np.array([1, 2, 255], np.uint8), [0, 0, 1])),
    "good": TableColumn(np.ma.MaskedArray([True, False, True], [0, 1, 0])),
    "z": TableColumn(np.array([0.1, np.nan, 0.3], np.float32), "", "redshift"),
    "vector": TableColumn(np.arange(6.0).reshape(3, 2) / 3, "mag"),
    "lists": TableColumn(np.array([[1], [2, 3], None, 0], object)[:3]),
    "name": TableColumn(np.array(["a", "", "\u00e9"], object)),
}


def write_passed(path: Path) -> None:
    passed = passed_fields(PASSED, [])
    schema = pa.schema([column for column, _ in passed], metadata={tables.PROVENANCE: b"{}"})
    arrays = [arrow_array(values, column.type) for column, values in passed]
    table_writers.write(path, schema, [pa.table(arrays, schema=schema)] * 2, 6)


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_gaps_types_vectors_units_and_descriptions_survive(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    write_passed(tmp_path / f"a{suffix}")
    message = capsys.readouterr().err
    columns = tables.read_table(tmp_path / f"a{suffix}")
    # pandas reads the lowest whole number of a CSV as a gap.
    assert columns["objid"].values.tolist() == [587722981736120347, None, None if suffix == ".csv" else -(2**63)] * 2
    assert columns["small"].values.tolist() == [1, 2, None] * 2
    # astropy reads the gap of a logical value in FITS as False.
    assert columns["good"].values.tolist() == [True, False if suffix == ".fits" else None, True] * 2
    np.testing.assert_allclose(columns["z"].values, [0.1, np.nan, 0.3] * 2, rtol=1e-6)
    assert list(columns["name"].values) == ["a", "", "\u00e9"] * 2
    expected = np.tile(PASSED["vector"].values, (2, 1))
    if suffix == ".csv":
        assert columns["vector"].values[1] == "[0.6666666666666666, 1.0]"
        assert message == "a.csv: columns vector, lists hold lists, which are written as text\n"
        return
    np.testing.assert_array_equal(columns["vector"].values, expected)
    assert columns["vector"].unit == "mag" and columns["objid"].description == "SDSS DR7 id"
    if suffix == ".parquet":
        assert columns["lists"].values.tolist() == [[1], [2, 3], None] * 2 and not message
        assert columns["z"].values.dtype == np.float32
    else:
        assert list(columns["lists"].values) == ["[1]", "[2, 3]", ""] * 2
        assert message == f"a{suffix}: columns lists hold lists, which are written as text\n"


@pytest.mark.parametrize("suffix", [".csv", ".ecsv"])
def test_a_cell_that_a_spreadsheet_would_run_is_escaped_in_the_file_and_read_as_it_was(tmp_path: Path, suffix: str):
    table = pa.table({"id_str": ["=1+2", "-1.5", "@a"], "z": [-1.5, 2.0, 3.0]})
    schema = table.schema.with_metadata({b"provenance": b"{}"})
    table_writers.write(tmp_path / f"t{suffix}", schema, [table], 3)
    lines = (tmp_path / f"t{suffix}").read_text().splitlines()[-3:]
    assert lines == ["\\x3d1+2,-1.5", "-1.5,2.0", "\\x40a,3.0"]
    assert tables.read_columns(tmp_path / f"t{suffix}")["id_str"].tolist() == ["=1+2", "-1.5", "@a"]
