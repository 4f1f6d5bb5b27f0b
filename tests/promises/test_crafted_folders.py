"""Files that were once overwritten, mixed or answered with a traceback: nothing is lost, one line says why."""

import dataclasses
import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from machine.command_line import run_script

import cv2
import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from exported import write_survey, write_tiny_analysis
from pyarrow import parquet
from tiny import ROOT, TINY, Survey, draw_blob, files_of, refused, status_of_fork, write_jpeg

import copy_data_to_shm
import export_model
import predict_galaxies
from machine import table_writers
from machine.arrays import load_pickle
from machine.files import DataError
from machine.tables import read_columns
from survey import decoded_cache, folders, images
from survey.folders import adopt, use_folders

RunMain = Callable[..., None]


@pytest.fixture
def galaxies(tmp_path: Path) -> Path:
    """Return a folder with an image, and the tables of two shards of a catalogue."""
    cv2.imwrite(str(tmp_path / "g.png"), draw_blob(np.random.default_rng(1))[162:262, 162:262])
    return tmp_path


def predict(run_main: RunMain, *arguments: object) -> None:
    fixed = "--num-workers", 0, "--threads", 1
    run_main(predict_galaxies, *arguments, *(() if "--merge" in arguments else fixed))


def refusal(folder: Path, run_main: RunMain, *arguments: object) -> str:
    """Return the line of a command that leaves a folder as it was."""
    before = files_of(folder)
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: predict(run_main, *arguments))
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code
    assert files_of(folder) == before
    return ended.value.code


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_a_table_of_a_user_is_no_sample(galaxies: Path, flags: tuple[str, ...], run_main: RunMain):
    table = galaxies / "c.sample.csv"
    table.write_text(f"id_str,file_loc,years_of_work\n1,{galaxies / 'g.png'},42\n")
    said = refusal(galaxies, run_main, table, "--output", galaxies / "c.parquet", *flags)
    assert "c.sample.csv" in said


def test_a_vector_column_of_fits_stays_a_vector(galaxies: Path, run_main: RunMain):
    table = galaxies / "t.fits"
    Table({"id_str": ["1"], "file_loc": [str(galaxies / "g.png")], "FLUX": [[1.0, 2, 3, 4, 5]]}).write(table)
    predict(run_main, table, "--output", galaxies / "c.parquet")
    assert list(read_columns(galaxies / "c.parquet")["id_str"]) == ["1"]


@pytest.fixture
def shards(galaxies: Path, run_main: RunMain) -> Path:
    image = galaxies / "g.png"
    shutil.copy(image, galaxies / "h.png")
    for index in (1, 2):
        output = galaxies / "c.parquet"
        predict(run_main, image, galaxies / "h.png", "--output", output, "--shard", f"{index}/2")
    return galaxies


def text_column(table: pa.Table) -> pa.Table:
    return table.set_column(table.schema.get_field_index("flag"), "flag", pa.array(["a"] * len(table)))


def noting(key: bytes, change: Callable[[bytes], bytes]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        notes = table.schema.metadata
        return table.replace_schema_metadata({**notes, key: change(notes[key])})

    return changed


SHARDS = {
    "broken provenance": (noting(b"provenance", lambda text: b"{broken"), "x.1of2.parquet is not a table of a --shard"),
    "deep provenance": (noting(b"provenance", lambda text: b"[" * 10**5), "x.1of2.parquet is not a table of a --shard"),
    "a column of text": (text_column, "has other columns"),
    "shard 3/2": (noting(b"shard", lambda text: b"3" + text[1:]), "x.1of2.parquet is not a table of a --shard"),
    "a billion shards": (noting(b"shard", lambda text: b"1/999999999" + text[3:]), "is of another run"),
}


def test_hostile_shards_are_named(shards: Path, run_main: RunMain):
    sealed = parquet.read_table(shards / "c.1of2.parquet")
    notes = {key: text for key, text in sealed.schema.metadata.items() if key != table_writers.SEAL}
    whole = sealed.replace_schema_metadata(notes)  # the seal would name each change
    for name, (change, expected) in SHARDS.items():
        parquet.write_table(change(whole), shards / "x.1of2.parquet")
        files = shards / "x.1of2.parquet", shards / "c.2of2.parquet"
        assert expected in refusal(shards, run_main, "--merge", *files, "--output", shards / "m.csv"), name
    alone = refusal(shards, run_main, "--merge", shards / "x.1of2.parquet", "--output", shards / "m.csv")
    assert "expected 999999999 shards, but 2/999999999 is missing" in alone


def test_a_deep_card_beside_a_model_stops_no_catalogue(galaxies: Path, run_main: RunMain):
    shutil.copy(ROOT / "models" / "lite0.onnx", galaxies / "own.onnx")
    (galaxies / "own.json").write_text("[" * 200_000)
    output = galaxies / "c.parquet"
    predict(run_main, galaxies / "g.png", "--model", galaxies / "own.onnx", "--output", output)
    assert len(read_columns(output)["id_str"]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_small_file_needs_little_address_space(tmp_path: Path):
    path = tmp_path / "small.pkl"
    path.write_bytes(b"\x80\x02}.")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    def read() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
        assert load_pickle(path, "x.py") == {}

    assert status_of_fork(read) == 0


@pytest.mark.parametrize("name", ["own.json", "own.md"])
def test_a_card_replaces_no_facts(name: str, tmp_path: Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch):
    write_survey(tmp_path, 10)
    use_folders(tmp_path)
    write_tiny_analysis()
    monkeypatch.setattr(export_model, "find_experiment", lambda name: TINY)
    facts = tmp_path / name
    facts.write_text(json.dumps({"data": "a text that took an hour"}))
    flags = "--output", tmp_path / "own.onnx", "--facts", facts, "--overwrite"
    assert name in refused(run_main, tmp_path, export_model, "tiny", *flags)


def test_keys_of_one_hash_are_refused(tmp_path: Path):
    """A dictionary of such keys takes time that grows as their square."""
    path, modulus = tmp_path / "c.pkl", 2**61 - 1
    keys = [(index * modulus).to_bytes((index * modulus).bit_length() // 8 + 1, "little") for index in range(1, 1000)]
    path.write_bytes(b"\x80\x02}(" + b"".join(b"\x8a" + bytes([len(key)]) + key + b"N" for key in keys) + b"u.")
    with pytest.raises(DataError, match=r"c\.pkl cannot be read"):
        load_pickle(path, "x.py")


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_two_surveys_share_no_decoded_map(
    prepared_survey: Survey, tmp_path: Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
):
    """While one survey's images are decoded into a folder, another's are: no map holds the other's pixels."""
    other, ram = tmp_path / "other", tmp_path / "ram"
    shutil.copytree(prepared_survey.root, other)
    for image in (other / "data" / "raw" / "images_train_rev1").iterdir():
        write_jpeg(image, np.full((424, 424, 3), 99, np.uint8))
    ram.mkdir()
    flags = "--ram", ram, "--decoded", "--num-workers", 1

    def decode_other() -> None:
        run_script(lambda: run_main(copy_data_to_shm, "--root", other, *flags))

    statuses, decode = [], decoded_cache._decode

    def decode_both(*arguments: object) -> None:
        monkeypatch.setattr(decoded_cache, "_decode", decode)
        statuses.append(status_of_fork(decode_other))
        decode(*arguments)

    monkeypatch.setattr(decoded_cache, "_decode", decode_both)
    run_main(copy_data_to_shm, "--root", prepared_survey.root, *flags)
    assert statuses == [1]
    for root, is_found in ((prepared_survey.root, True), (other, False)):
        adopt(dataclasses.replace(use_folders(root), ram=ram))
        decoded_cache.forget()
        pixels = decoded_cache.find("train")
        assert (pixels is not None) == is_found
        for row, id in zip(pixels, images.load_ids("train"), strict=True) if is_found else ():
            np.testing.assert_array_equal(
                row, images.read_image(images.image_path(folders.current.raw_images("train"), id))
            )
    decoded_cache.forget()
