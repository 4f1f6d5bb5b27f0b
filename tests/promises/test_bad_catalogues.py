"""What `predict_galaxies.py` is given and can not take: a line, or a row, as doc/bad_data.md says."""

import re
from pathlib import Path

import exported
import numpy as np
import pytest
from astropy.io import fits
from fields import draw_field, sky_header
from tiny import cases_of, draw_blob, files_of, refused, rows_of_page, write_jpeg

import predict_galaxies
from machine.tables import read_columns

REFUSED = {
    "nothing to catalogue": [
        (["nowhere"], "nowhere is missing; name a folder"),
        (["https://example.org/a.fits"], "is a URL: expected a file or a folder; download it first"),
        (["nowhere/*.jpg"], "is missing; if it is a pattern, leave the quotes out"),
        (["empty"], "expected images in .*empty, found none"),
        ([], "expected images, or --merge"),
    ],
    "output that is not a table, page or figure": [
        (["in", "--output", "a.txt"], "expected an --output that ends with .parquet"),
        (["in", "--output", "folder.csv"], "folder.csv is a folder"),
        (["in", "--report", "page.pdf"], "expected a --report that ends with .html"),
        (["in", "--draw", "tree.jpg"], "expected a --draw that ends with .png"),
    ],
    "flags that exclude each other": [
        (["in", "--detect", "--framing", "sdss"], "--detect frames each galaxy by its size"),
        (["in", "--detect", "--draw", "t.png"], "expected --draw without --detect"),
        (["in", "--shard", "1/2", "--draw", "t.png"], "expected --draw without --shard"),
        (["in", "--draw", "t.png"], "expected one image to --draw, got 2"),
        (["--merge", "a.parquet", "--report", "p.html"], "expected --merge without --report"),
        (["in", "--merge", "a.parquet"], "expected images, or --merge"),
    ],
    "file that is not a model": [
        (["in", "--model", "nobody"], "expected a model .*nobody.onnx, which is missing"),
        (["in", "--model", "text.onnx"], "text.onnx cannot be used: it is not an ONNX file"),
    ],
    "tables that are not all shards of one catalogue": [
        (["--merge", "missing.parquet"], "missing.parquet is missing; make it with --shard"),
        (["--merge", "text.onnx"], "text.onnx is not a table of a --shard"),
    ],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two images in `in`, and whatever the cases name, which is the current one."""
    rng = np.random.default_rng(0)
    for name in "ab":
        write_jpeg(tmp_path / "in" / f"{name}.jpg", draw_blob(rng))
    for name in ("empty", "folder.csv"):
        (tmp_path / name).mkdir()
    (tmp_path / "text.onnx").write_text("a text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "complaint"), cases_of(REFUSED))
def test_what_can_not_be_meant_is_one_line(place: Path, run_main, arguments: list[str], complaint: str):
    fixed = [] if "--output" in arguments else ["--output", place / "out.csv"]
    if "--model" not in arguments and "--merge" not in arguments:
        fixed += ["--model", exported.tiny_model()]
    line = refused(run_main, place, predict_galaxies, *arguments, *fixed)
    assert re.search(complaint, line), line


def test_a_field_that_can_not_be_read_is_a_row(place: Path, run_main):
    (place / "field.fits").write_bytes(b"SIMPLE  = nothing")
    before = files_of(place / "in")
    run_main(
        predict_galaxies, "field.fits", "--detect", "--output", "out.csv", "--model", exported.tiny_model(),
        "--num-workers", 0,
    )  # fmt: skip
    rows = read_columns(place / "out.csv")
    assert rows["status"].tolist() == ["unreadable"] and "FITS" in rows["reason"][0]
    assert files_of(place / "in") == before


def test_a_broken_sky_costs_the_places_on_it(place: Path, run_main, capsys: pytest.CaptureFixture[str]):
    light = np.clip(draw_field(stars=12)[0], 0, 255).astype(np.float32)
    header = sky_header("CD")
    header["CTYPE1"] = "RA---XYZ"
    fits.PrimaryHDU(light, header).writeto(place / "field.fits")
    run_main(
        predict_galaxies, "field.fits", "--detect", "--output", "out.parquet", "--model", exported.tiny_model(),
        "--num-workers", 0,
    )  # fmt: skip
    rows = read_columns(place / "out.parquet")
    assert np.isnan(rows["ra"]).all() and np.isfinite(rows["x"]).all() and len(rows["x"]) > 5
    said = [line for line in capsys.readouterr().err.splitlines() if "field.fits" in line]
    assert len(said) == 1, said


def test_the_page_has_a_row_for_each_test():
    rows = {"field that cannot be read", "header without places on the sky, or with broken ones"}
    assert rows_of_page("Catalogues of own images and fields") == {*REFUSED, *rows}
