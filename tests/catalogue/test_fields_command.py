from collections.abc import Callable
from pathlib import Path

import exported
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fields import GALAXIES, SPIKED, draw_field, sky_header
from PIL import Image

import predict_galaxies
from catalogue import row_store
from catalogue.answer_columns import fractions_of
from catalogue.field_sources import columns_of
from catalogue.flags import FAINT, LEAST_SIGNAL, SHAPE, STAR, contradicts
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.detection import OBJECT
from machine.tables import read_columns


@pytest.fixture
def predict(run_main: Callable[..., None]) -> Callable[..., dict[str, np.ndarray]]:
    """Return a function that catalogues fields in this process, and returns the columns that it wrote."""

    def run(output: Path, *arguments: object) -> dict[str, np.ndarray]:
        fixed = "--model", exported.tiny_model(), "--num-workers", 0, "--threads", 1
        run_main(predict_galaxies, *arguments, "--detect", "--output", output, *fixed)
        return read_columns(output)

    return run


def write_fits(path: Path, kind: str) -> None:
    fits.PrimaryHDU(draw_field(stars=12)[0], sky_header(kind)).writeto(path)


def test_a_field_is_a_table_a_picture_and_a_region_file(tmp_path: Path, predict: Callable):
    write_fits(tmp_path / "sky.fits", "SIP")
    rows = predict(tmp_path / "out.csv", tmp_path / "sky.fits")
    expected = WCS(sky_header("SIP")).all_pix2world(rows["x"], rows["y"], 0)
    np.testing.assert_allclose([rows["ra"], rows["dec"]], expected, rtol=0, atol=1e-3 / 3600)
    assert len(rows["x"]) == len(GALAXIES) + 14 and len(set(rows["id_str"])) == len(rows["x"])
    fractions = np.stack([rows[name] for name in fractions_of(GALAXY_ZOO_2)], axis=1)
    for x, y, *_ in GALAXIES:
        index = np.hypot(rows["x"] - x, rows["y"] - y).argmin()
        assert rows["object"][index] == "galaxy" and rows["status"][index] == "ok"
        assert np.isfinite(fractions[index, :3]).all() and rows["frame_scale"][index] > 0
    star = np.hypot(rows["x"] - SPIKED[0], rows["y"] - SPIKED[1]).argmin()
    assert rows["object"][star] == "star" and rows["flag"][star] & STAR
    assert rows["status"][star] == "not judged" and rows["reason"][star] == "a star"
    assert np.isnan(fractions[star]).all()
    # Both axis ratios, at the detection and in the frame, must allow an answer.
    ratios = zip(rows["most_likely_path"], rows["b"] / rows["a"], rows["axis_ratio"], strict=True)
    shape = [any(contradicts(path or "", ratio) for ratio in both) for path, *both in ratios]
    assert np.array_equal(rows["flag"] & SHAPE > 0, shape)
    with Image.open(tmp_path / "out.sky.jpg") as picture:
        assert picture.width >= 1280 and len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1000
    lines = (tmp_path / "out.sky.reg").read_text().splitlines()
    assert lines[2] == "image" and len(lines) == 4 + len(rows["x"])
    assert lines[-1].startswith("# galaxyseal:")
    first = [float(value) for value in lines[3][len("ellipse(") :].partition(")")[0].split(",")]
    assert first[:2] == pytest.approx([rows["x"][0] + 1, rows["y"][0] + 1], abs=1e-3)
    assert not list(tmp_path.glob(".*"))


def test_galaxies_in_noise_are_faint_stars_are_not():
    objects = np.zeros(3, OBJECT)
    objects["snr"] = LEAST_SIGNAL - 1, LEAST_SIGNAL + 1, LEAST_SIGNAL - 1
    flags = columns_of(objects, np.array(["galaxy", "galaxy", "star"], object), *np.zeros((2, 3)))["flag"]
    assert (flags & FAINT > 0).tolist() == [True, False, False]


def test_several_fields_and_what_is_none(tmp_path: Path, predict: Callable, capsys: pytest.CaptureFixture):
    write_fits(tmp_path / "broken.fits", "broken")
    Image.fromarray(np.clip(draw_field(stars=12)[0], 0, 255).astype(np.uint8)).save(tmp_path / "plain.png")
    (tmp_path / "text.jpg").write_text("no image")
    rows = predict(tmp_path / "out.fits", *(tmp_path / name for name in ("broken.fits", "text.jpg", "plain.png")))
    of = rows["file_loc"]
    assert [Path(name).name for name in dict.fromkeys(of)] == ["broken.fits", "text.jpg", "plain.png"]
    [bad] = np.flatnonzero(rows["status"] == "unreadable")
    assert rows["reason"][bad].startswith("is not an image that can be read") and np.isnan(rows["x"][bad])
    assert np.isnan(rows["ra"]).all() and np.isfinite(rows["x"]).sum() == len(of) - 1
    told = [line for line in capsys.readouterr().err.splitlines() if "broken.fits" in line]
    assert len(told) == 1 and "has no usable sky coordinates" in told[0]
    assert {path.name for path in tmp_path.glob("out.*")} >= {"out.broken.jpg", "out.plain.jpg", "out.plain.reg"}
    # The picture's first row is the highest, a region's the lowest.
    place = np.flatnonzero(np.char.endswith(of.astype(str), "plain.png"))[0]
    line = (tmp_path / "out.plain.reg").read_text().splitlines()[3]
    assert float(line.split(",")[1]) == pytest.approx(520 - rows["y"][place], abs=1e-3)


def test_what_stopped_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, predict: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(row_store, "ROWS_PER_PART", 5)
    write_fits(tmp_path / "sky.fits", "CD")
    predict(tmp_path / "whole.parquet", tmp_path / "sky.fits")
    saved, save = [], row_store.RowStore.save

    def stopping(self: row_store.RowStore, index: int, table: object, pictures: object) -> None:
        save(self, index, table, pictures)
        saved.append(index)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(row_store.RowStore, "save", stopping)
    with pytest.raises(SystemExit):
        predict(tmp_path / "again.parquet", tmp_path / "sky.fits")
    predict(tmp_path / "again.parquet", tmp_path / "sky.fits")
    assert saved[:4] == [0, 1, 2, 3]
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_field_without_objects_is_an_empty_table(tmp_path: Path, predict: Callable):
    fits.PrimaryHDU(np.full((200, 300), 7, np.float32)).writeto(tmp_path / "sky.fits")
    rows = predict(tmp_path / "out.parquet", tmp_path / "sky.fits")
    assert len(rows["id_str"]) == 0 and {"ra", "object", "x"} <= set(rows)


def test_framing_is_by_size(tmp_path: Path, predict: Callable):
    write_fits(tmp_path / "sky.fits", "none")
    with pytest.raises(SystemExit, match="leave --framing out"):
        predict(tmp_path / "out.csv", tmp_path / "sky.fits", "--framing", "sdss")
