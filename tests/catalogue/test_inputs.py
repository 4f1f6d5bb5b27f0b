"""What is to be catalogued, in a stable order, whatever its names are."""

import os
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from catalogue.inputs import FileTargets, Inputs, Selection, choose_images, find, with_every_image
from catalogue.targets import FileTarget
from machine.files import DataError
from machine.passed_columns import passed_fields

STRANGE = [
    "with space.jpg",
    "quote'\"`$(touch x).jpg",
    "new\nline.jpg",
    "naïve Ω.jpg",
    "<script>.jpg",
    "-rf.jpg",
    "*.jpg",
]


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def paths_of(inputs: Inputs) -> list[Path]:
    return [target.path for target in inputs.targets]


def test_numbers_beyond_64_bits_are_text_in_all_rows(tmp_path: Path):
    numbers = np.array([1, 2**63 + 1], np.uint64)
    Table({"id_str": ["a", "b"], "file_loc": ["a.jpg", "b.jpg"], "objid": numbers}).write(tmp_path / "t.ecsv")
    found = find([str(tmp_path / "t.ecsv")])
    [(field, values)] = passed_fields(found.known, [])
    assert (field.type, list(values)) == (pa.string(), ["1", str(2**63 + 1)])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "parquet", "fits", "ecsv", "vot"])
def test_ids_with_gaps_keep_their_digits_in_columns_of_other_names(tmp_path: Path, suffix: str):
    frame = pandas.DataFrame(
        {" ID_STR": pandas.array([587722981736120347, None, 7], "Int64"), "File_Loc": ["a.jpg"] * 3}
    )
    path = tmp_path / f"t.{suffix}"
    if "sv" in suffix and suffix != "ecsv":
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ";")
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        ids = MaskedColumn([587722981736120347, 0, 7], mask=[False, True, False])
        Table({"ID_STR": ids, "File_Loc": ["a.jpg"] * 3}).write(path, format="votable" if suffix == "vot" else None)
    assert find([str(path)]).ids == ["587722981736120347", "", "7"]


def test_ids_that_lost_digits_are_refused(tmp_path: Path):
    frame = pandas.DataFrame({"id_str": [5.87722981736120347e17, np.nan], "file_loc": ["a.jpg", "b.jpg"]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"expected whole numbers or text in id_str, got .*which lost digits"):
        find([str(tmp_path / "t.parquet")])


def test_bytes_are_text(tmp_path: Path):
    frame = pandas.DataFrame(
        {"id_str": [b"1237", b"x"], "file_loc": [b"a.jpg", b"b.jpg"], "name": [b"caf\xe9", b"y\0"]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    found = find([str(tmp_path / "t.parquet")])
    assert found.ids == ["1237", "x"] and list(found.known["name"].values) == ["caf\u00e9", "y"]


def test_a_folder_gives_all_its_files_by_name_and_no_hidden_ones(tmp_path: Path):
    touch(tmp_path, "b.jpg", "a/2.png", "a/1.png", "c.txt", ".hidden.jpg", "a/._1.png", ".git/x.jpg")
    found = find([str(tmp_path)])
    assert found.names == [f"{tmp_path}/{name}" for name in ("b.jpg", "c.txt", "a/1.png", "a/2.png")]
    assert found.ids == ["b", "c.txt", "1", "2"]


def test_names_of_any_characters_are_found(tmp_path: Path):
    touch(tmp_path, *STRANGE)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg"))).write_bytes(b"x")
    found = find([str(tmp_path)])
    assert len(found) == len(STRANGE) + 1
    assert all(path.is_file() for path in paths_of(found))
    assert {Path(name).name for name in found.names} >= set(STRANGE)


def test_links_in_circles_and_folders_named_like_images_are_gone_through_once(tmp_path: Path):
    touch(tmp_path, "a/x.jpg", "folder.jpg/y.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    names = [Path(name).name for name in find([str(tmp_path)]).names]
    assert sorted(names) == ["gone.jpg", "self", "x.jpg", "y.jpg"]


def test_the_table_to_be_written_is_none_of_the_images(tmp_path: Path):
    touch(tmp_path, "a.jpg", "catalogue.csv")
    assert find([str(tmp_path)], [tmp_path / "catalogue.csv"]).names == [f"{tmp_path}/a.jpg"]


def test_files_come_in_the_order_of_the_command_line(tmp_path: Path):
    paths = [str(path) for path in touch(tmp_path, "z.jpg", "b/a.jpg", "a.jpg", "m.fits.gz")]
    found = find(paths)
    assert found.names == paths
    assert found.ids == ["z", paths[1], paths[2], "m"]


def test_a_list_names_files_beside_it_a_line_each_or_with_nul_between(tmp_path: Path):
    touch(tmp_path, *STRANGE)
    (tmp_path / "list.txt").write_text("with space.jpg\r\n\n-rf.jpg\nmissing.jpg\n")
    found = find([str(tmp_path / "list.txt")])
    assert [path.name for path in paths_of(found)] == ["with space.jpg", "-rf.jpg", "missing.jpg"]
    assert paths_of(found)[0].is_file()
    (tmp_path / "list.lst").write_bytes(b"".join(os.fsencode(name) + b"\0" for name in STRANGE))
    found = find([str(tmp_path / "list.lst")])
    assert [path.name for path in paths_of(found)] == STRANGE and all(path.is_file() for path in paths_of(found))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits", "ecsv"])
def test_a_table_s_other_columns_pass_through(tmp_path: Path, suffix: str):
    touch(tmp_path, "007.jpg", "b.jpg")
    columns = {
        "id_str": ["007", "x"],
        "file_loc": ["007.jpg", str(tmp_path / "b.jpg")],
        "ra": [1.5, np.nan],
        "n": [3, 4],
    }
    path = tmp_path / f"t.{suffix}"
    if suffix in ("fits", "ecsv"):
        Table(columns).write(path)
    else:
        frame = pandas.DataFrame(columns)
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    found = find([str(path)])
    assert found.ids == ["007", "x"] and all(each.is_file() for each in paths_of(found))
    assert list(found.known) == ["ra", "n"]
    np.testing.assert_array_equal(found.known["ra"].values, [1.5, np.nan])
    np.testing.assert_array_equal(found.known["n"].values, [3, 4])
    half = found.rows(1, 2)
    assert half.ids == ["x"] and half.known["n"].values == [4]


def test_a_fits_image_is_an_image(tmp_path: Path):
    fits.PrimaryHDU(np.zeros((40, 40), np.float32)).writeto(tmp_path / "a.fits")
    assert find([str(tmp_path / "a.fits")]).names == [str(tmp_path / "a.fits")]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["gone.jpg"], "gone.jpg is missing"),
        (["empty"], "expected images in empty, found none"),
        (["t.csv"], "expected columns id_str and file_loc, but file_loc is missing"),
        (["t.csv", "a.jpg"], "t.csv is a table: expected it alone"),
        (["none.csv"], "expected rows, got none"),
        (["bad.parquet"], "is not a readable parquet table"),
    ],
)
def test_what_is_no_input_is_told_in_one_line(
    names: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.jpg", "bad.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("id_str,file\n1,a.jpg\n")
    (tmp_path / "none.csv").write_text("id_str,file_loc\n")
    with pytest.raises(DataError) as refused:
        find(names)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_targets_and_selections_are_created_on_access():
    targets = FileTargets(["a.jpg", "b.jpg", "c.jpg"])
    a, b, c = (FileTarget(Path(f"{name}.jpg")) for name in "abc")
    assert list(targets) == [a, b, c] and list(targets[1:]) == [b, c]
    selected = Selection(targets, np.array([2, 0]))
    assert list(selected) == [c, a] and list(selected[1:]) == [a] and len(selected) == 2
    assert not Selection(targets, np.arange(0)) and targets[-1] == c


def test_a_fits_file_with_a_table_and_an_image_is_an_image(tmp_path: Path):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    image = fits.ImageHDU(np.zeros((40, 40), np.float32))
    for name, hdus in {"a": [table, image], "b": [image, table]}.items():
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / f"{name}.fits")
        assert find([str(tmp_path / f"{name}.fits")]).ids == [name]


def test_images_of_a_file_are_named_chosen_and_counted(tmp_path: Path):
    chips = [fits.ImageHDU(np.eye(40, dtype=np.float32), name="SCI", ver=version) for version in (1, 2)]
    path = str(tmp_path / "a.fits")
    fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(path)
    found = find([path, f"{path}[SCI,2]"])
    assert found.ids == ["a", "a[SCI,2]"]
    assert with_every_image(found).ids == ["a[SCI,1]", "a[SCI,2]", "a[SCI,2]"]
    assert choose_images(found, "2", ()).names == [f"{path}[2]", f"{path}[SCI,2]"]
    with pytest.raises(DataError, match="is missing"):
        find([f"{tmp_path}/none.fits[1]"])
