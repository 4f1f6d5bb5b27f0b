"""A field on a page: the marks lie on its galaxies, and lead to their rows."""

import io
import json
import re
from pathlib import Path

import exported
import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from fields import GALAXIES, draw_field, sky_header
from PIL import Image

import predict_galaxies
from catalogue.field_sources import FieldRows
from catalogue.field_tiles import Field
from machine.files import DataError
from machine.tables import read_columns
from report import field_section
from report.galaxies import MAX_FIELD_BYTES, MAX_FIELDS


def marks_of(text: str) -> np.ndarray:
    """Return row, x and y of each mark of a page: (n, 3)."""
    return np.array(re.findall(r'class="mark[^>]*data-row="(\d+)".*?cx="([\d.]+)" cy="([\d.]+)"', text), float)


@pytest.mark.parametrize("linear", [False, True], ids=["PNG", "FITS, first row below"])
def test_marks_lie_on_the_galaxies(linear: bool, tmp_path: Path, run_main):
    light = np.clip(draw_field(stars=12)[0], 0, 255)
    field = tmp_path / ("sky.fits" if linear else "sky.png")
    if linear:
        fits.PrimaryHDU(light, sky_header("CD")).writeto(field)
    else:
        Image.fromarray(light.astype(np.uint8)).save(field)
    fixed = "--model", exported.tiny_model(), "--num-workers", 0, "--threads", 1
    output, page = tmp_path / "out.parquet", tmp_path / "out.html"
    run_main(predict_galaxies, field, "--detect", "--output", output, "--report", page, *fixed)
    text = page.read_text()
    rows = read_columns(output)
    assert 'viewBox="0 0 640 520"' in text and field.name in text
    judged = rows["status"] == "ok"
    marks = marks_of(text)
    assert len(marks) == judged.sum() >= len(GALAXIES) and marks[:, 0].tolist() == list(range(len(marks)))
    drawn = {tuple(np.round(mark[1:3] - 0.5)) for mark in marks}
    for x, y, *_ in GALAXIES:
        place = (x, 519 - y) if linear else (x, y)
        assert min(np.hypot(place[0] - left, place[1] - top) for left, top in drawn) < 2
    assert f"{judged.sum()} galaxies, {(~judged).sum()} other objects that are not judged" in text
    assert "could not be read" not in text.partition("</header>")[0]


def test_a_large_picture_becomes_small_enough():
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2500, 3), np.uint8)
    content = field_section._encoded(noise)
    assert len(content) <= MAX_FIELD_BYTES
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width / picture.height == pytest.approx(2500 / 1500, abs=0.01)


def test_the_tree_of_a_field_is_refused(tmp_path: Path, run_main):
    with pytest.raises((SystemExit, DataError)) as ended:
        run_main(
            predict_galaxies, "sky.png", "--detect", "--draw", tmp_path / "t.png", "--output", tmp_path / "out.csv"
        )
    assert "--draw without --detect" in str(ended.value)


def test_each_field_has_its_picture_and_its_own_marks(tmp_path: Path, run_main):
    light = np.clip(draw_field(stars=12)[0], 0, 255).astype(np.uint8)
    Image.fromarray(light).save(tmp_path / "a.png")
    Image.fromarray(light[::-1]).save(tmp_path / "b <i>.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    fixed = "--model", exported.tiny_model(), "--num-workers", 0, "--threads", 1
    output, page = tmp_path / "out" / "out.parquet", tmp_path / "out" / "out.html"
    output.parent.mkdir()
    paths = [tmp_path / name for name in ("a.png", "c.png", "b <i>.png")]
    run_main(predict_galaxies, *paths, "--detect", "--output", output, "--report", page, *fixed)
    text = page.read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    _, first, second = text.split('<figure class="map">')
    assert first.count('aria-label="a.png: ') == 1 == second.count('aria-label="b &lt;i&gt;.png: ')
    assert "The fields" in text
    names = data["galaxies"]["names"]
    rows = [marks_of(part)[:, 0].astype(int) for part in (first, second)]
    assert {names[row][:2] for row in rows[0]} == {"a_"} and {names[row][:2] for row in rows[1]} == {"b "}
    assert len(rows[0]) + len(rows[1]) == len(names)


def test_pictures_of_many_fields_share_the_room_of_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    rng = np.random.default_rng(0)
    skies = [
        Field(tmp_path / f"{n}.png", rng.integers(0, 256, (700, 700, 3), np.uint8), 3, 700, 700, False)
        for n in range(MAX_FIELDS + 2)
    ]
    fields = [FieldRows(sky, slice(n, n + 1)) for n, sky in enumerate(skies)]
    table = pa.table(
        {
            "status": ["ok"] * len(fields),
            "object": ["galaxy"] * len(fields),
            "most_likely_path": ["smooth"] * len(fields),
        }
        | {name: [1.0] * len(fields) for name in ("x", "y", "a", "b", "theta")}
    )
    shown = field_section.field_pictures(fields, table, None)
    assert [each.title for each in shown] == [f"{n}.png" for n in range(MAX_FIELDS)]
    assert sum(len(each.picture) for each in shown) <= MAX_FIELD_BYTES
    assert [each.rows.tolist() for each in shown] == [[n] for n in range(MAX_FIELDS)]
