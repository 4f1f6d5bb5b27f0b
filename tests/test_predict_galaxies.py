"""Images in, a catalogue out: every file a row, whatever happens on the way."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from machine.command_line import run_script

import crafted_images as crafted
import cv2
import exported
import numpy as np
import onnx
import pandas
import pyarrow as pa
import pytest
import simplejpeg
import tifffile
from astropy.io import fits
from fields import GALAXIES, draw_field
from PIL import Image
from pyarrow import parquet
from tiny import CPU, OPTIONS, ROOT, TINY, draw_blob

import predict_galaxies
from benchmarks.peers import memory
from catalogue import answer_columns, framing, read_ahead, request, row_store
from catalogue.calibration import NO_FEATURES
from catalogue.columns import Choices
from catalogue.model_file import Model
from catalogue.targets import FileTarget, Recipe
from engine.examples import Examples
from engine.network import load_network
from engine.prediction import predict as predict_with_torch
from galaxy import thumbnails
from galaxy.decision_tree import GALAXY_ZOO_2
from machine import seals, shared_folders
from machine.files import DataError
from machine.tables import read_columns
from predict_galaxies import catalogue
from survey.folders import use_folders

Predict = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def predict(run_main: Callable[..., None]) -> Predict:
    """Return a function that runs the command in this process, and returns the columns that it wrote."""

    def run(output: Path, *arguments: object, models: Sequence[Path] = ()) -> dict[str, np.ndarray]:
        named = models or [exported.tiny_model()]
        fixed = "--output", output, "--num-workers", 0, "--threads", 1
        run_main(predict_galaxies, *arguments, "--model", *named, *fixed)
        return read_columns(output)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 6 galaxies, one that can not be read, and an empty file."""
    rng = np.random.default_rng(5)
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.fromarray(draw_blob(rng)).save(tmp_path / "in" / f"galaxy {number}.png")
    (tmp_path / "in" / "a.jpg").write_bytes(b"")
    crafted.write_bad("half a PNG", tmp_path / "in", "b.png")
    return tmp_path / "in"


def test_each_file_is_a_row_with_what_the_network_says_or_the_reason(folder: Path, predict: Predict):
    rows = predict(folder.parent / "out.parquet", folder)
    assert list(rows["id_str"]) == ["a", "b", *(f"galaxy {number}" for number in range(6))]
    assert list(rows["status"]) == ["unreadable"] * 2 + ["ok"] * 6
    assert list(rows["reason"][:3]) == ["is empty", "cannot be decoded as a PNG (it ends early)", ""]
    fractions = np.stack([rows[name] for name in answer_columns.fractions_of(GALAXY_ZOO_2)], axis=1)
    assert np.isnan(fractions[:2]).all() and (fractions[2:, :3].sum(axis=1) - 1 < 1e-5).all()
    assert all(
        path.split(", ")[0] in ("smooth", "features or disk", "star or artifact")
        for path in rows["most_likely_path"][2:]
    )
    assert (rows["framing"][2:] == "auto").all() and np.isfinite(rows["petrosian_radius"][2:]).all()
    assert not list(folder.parent.glob(".*"))
    assert {path.name for path in folder.parent.iterdir()} == {"in", "out.parquet", "out.sample.csv"}


def test_weighted_fractions_are_those_of_the_predict_script(tmp_path: Path, predict: Predict):
    root = exported.tiny_model().parent.parent
    use_folders(root)
    network = load_network(TINY, CPU)
    expected = predict_with_torch(network, Examples(TINY, OPTIONS, CPU), np.arange(5), "train")
    images = root / "data" / "raw" / "images_train_rev1"
    rows = predict(tmp_path / "out.parquet", *sorted(images.glob("50[0-4].jpg")), "--weighted", "--framing", "sdss")
    found = np.stack([rows[name] for name in answer_columns.fractions_of(GALAXY_ZOO_2)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    conditional = predict(tmp_path / "b.parquet", *sorted(images.glob("50[0-4].jpg")), "--framing", "sdss")
    found = np.stack([conditional[name] for name in answer_columns.fractions_of(GALAXY_ZOO_2)], axis=1)
    np.testing.assert_allclose(found, answer_columns.conditional(expected, GALAXY_ZOO_2), atol=1e-3)


def test_all_formats_tell_the_same(folder: Path, predict: Predict):
    expected = predict(folder.parent / "out.parquet", folder, "--full")
    for suffix in ("csv", "fits", "ecsv"):
        rows = predict(folder.parent / f"out.{suffix}", folder, "--full")
        assert list(rows) == list(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(rows[name].astype(values.dtype), values, err_msg=name)


def test_features_are_those_of_the_network_in_all_formats(folder: Path, predict: Predict):
    expected = predict(folder.parent / "out.parquet", folder, "--features")["features"]
    assert (expected[:2] == NO_FEATURES).all() and (np.abs(expected[2:]) <= 127).all()
    stored = parquet.read_schema(folder.parent / "out.parquet").field("features").type
    assert (stored.value_type, stored.list_size) == (pa.int8(), 5)
    for suffix in ("fits", "ecsv", "vot"):
        rows = predict(folder.parent / f"out.{suffix}", folder, "--features")
        np.testing.assert_array_equal(rows["features"], expected)
    model = Model(exported.tiny_model(), threads=1)
    recipe = Recipe(None, "auto", model.card.framing_radius)
    frames = [FileTarget(folder / f"galaxy {number}.png").frame(recipe) for number in range(6)]
    values = np.concatenate([model.predict([frame]).features for frame in frames])
    assert model.num_features == 5 and values.std(axis=0).max() > 0.05
    np.testing.assert_array_equal(expected[2:], np.clip(np.rint(values * 24), -127, 127))


def test_a_model_without_features_is_one_message(folder: Path, tmp_path: Path, predict: Predict):
    model = onnx.load(exported.tiny_model())
    [output] = [each for each in model.graph.output if each.name == "features"]
    model.graph.output.remove(output)
    onnx.save(model, tmp_path / "old.onnx")
    predict(tmp_path / "a.csv", folder, models=[tmp_path / "old.onnx"])
    with pytest.raises(SystemExit) as ended:
        predict(tmp_path / "b.csv", folder, "--features", models=[tmp_path / "old.onnx"])
    assert "returns no features; name a model" in str(ended.value.code)


def test_full_tables_have_spreads_and_intervals(folder: Path, predict: Predict):
    models = exported.tiny_model(), exported.other_model()
    one = predict(folder.parent / "a.parquet", folder, "--full", "--weighted", models=models[:1])
    other = predict(folder.parent / "b.parquet", folder, "--full", "--weighted", models=models[1:])
    both = predict(folder.parent / "c.parquet", folder, "--full", "--weighted", models=models)
    name = "smooth_or_featured_smooth"
    pair = np.stack([one[f"{name}_fraction"], other[f"{name}_fraction"]])
    read = one["status"] == "ok"
    assert np.isnan(one[f"{name}_spread_models"]).all()
    np.testing.assert_allclose(both[f"{name}_fraction"][read], pair.mean(axis=0)[read], atol=2e-3)
    assert (one[f"{name}_spread_transforms"][read] > 0).all()
    assert (both[f"{name}_spread_models"][read] > 0).all()
    for rows in (one, both):
        for level in (68, 95):
            low, high = (rows[f"{name}_{side}{level}"][read] for side in ("low", "high"))
            assert (low <= high).all() and (low >= 0).all() and (high <= 1).all()


def test_columns_of_a_table_pass_through(folder: Path, predict: Predict):
    table = pandas.DataFrame(
        {
            "id_str": ["007", "8"],
            "file_loc": ["in/galaxy 0.png", "in/none.png"],
            "ra": [1.5, 2.5],
            "flag": [True, False],
            "what is it?": ["<b>", "é\n"],
        }
    )
    table.to_csv(folder.parent / "t.csv", index=False)
    rows = predict(folder.parent / "out.fits", folder.parent / "t.csv")
    assert list(rows["id_str"]) == ["007", "8"] and list(rows["ra"]) == [1.5, 2.5]
    assert list(rows["flag_2"]) == [True, False] and list(rows["what_is_it_"]) == ["<b>", "é\n"]
    assert list(rows["status"]) == ["ok", "unreadable"] and rows["reason"][1] == "is missing"


def test_what_was_written_into_the_folder_of_images_is_no_image_of_it(
    folder: Path, predict: Predict, run_main: Callable[..., None]
):
    expected, output = predict(folder.parent / "out.parquet", folder), folder / "all.parquet"
    for number in (1, 2):
        with pytest.raises(DataError, match="is missing"):
            predict(output, folder, "--shard", f"{number}/2")
    shards = [folder / f"all.{number}of2.parquet" for number in (1, 2)]
    run_main(predict_galaxies, "--merge", *shards, "--output", output)
    assert list(read_columns(output)["file_loc"]) == list(expected["file_loc"])
    marked = [folder / f"all.hubble{suffix}" for suffix in (".reg", ".jpg")]
    for path in (*marked, folder / "all.m31.jpg"):
        path.write_text(seals.blank())
    for path in marked:
        seals.press(path)
    left_out = request.Request(images=[str(folder)], choices=Choices(), output=output).written()
    samples = [folder / f"{stem}.sample.csv" for stem in ("all", "all.1of2", "all.2of2")]
    assert {*shards, *marked, output, *samples} == set(left_out)  # all.m31.jpg is a galaxy called so


def test_shards_put_together_are_the_whole(
    folder: Path, predict: Predict, run_main: Callable[..., None], capsys: pytest.CaptureFixture
):
    expected = predict(folder.parent / "out.parquet", folder)
    output = folder.parent / "parts.csv"
    for number in (2, 3, 1):
        with pytest.raises(DataError, match="is missing"):
            predict(output, folder, "--shard", f"{number}/3")
    files = [folder.parent / f"parts.{number}of3.parquet" for number in (3, 1, 2)]
    run_main(predict_galaxies, "--merge", *files, "--output", output)
    rows = read_columns(output)
    for name, values in expected.items():
        np.testing.assert_array_equal(rows[name].astype(values.dtype), values)

    def refused(*names: object) -> str:
        with pytest.raises(SystemExit) as ended:
            run_main(predict_galaxies, "--merge", *names, "--output", output)
        return ended.value.code

    assert "expected 3 shards, but 2/3 is missing" in refused(*files[:2])
    copy = shutil.copy(files[1], folder.parent / "copy.parquet")
    assert f"{copy} is shard 1/3 a second time, beside {files[1]}" in refused(*files[:2], copy)
    with pytest.raises(DataError, match="is missing"):
        predict(folder.parent / "weighted.csv", folder, "--weighted", "--shard", "2/3")
    stranger = folder.parent / "weighted.2of3.parquet"
    assert f"{stranger} is of another run than {files[0]}" in refused(*files[:2], stranger)
    assert "is not a table of a --shard" in refused(folder.parent / "out.parquet")
    assert "is not a table of a --shard" in refused(folder / "a.jpg")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in", "--output", "a.txt"], "expected an --output that ends with .parquet, .csv, .fits, .ecsv"),
        (["--output", "a.csv"], "expected images, or --merge"),
        (["nowhere", "--output", "a.csv"], "nowhere is missing"),
        (["in", "--output", "a.csv", "--model", "none"], "run export_model.py none first"),
        (["in", "--output", "a.csv", "--model", "in/a.jpg.onnx"], "a.jpg.onnx is missing"),
        (["in", "--output", "in/a.jpg/b.csv"], "in/a.jpg"),
        (["in", "--output", "in.csv", "--model", "text.onnx"], "it is not an ONNX file"),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str], says: str, folder: Path, run_main: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder.parent)
    Path("text.onnx").write_text("no model")
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(exported.tiny_model())]
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: run_main(predict_galaxies, *arguments))
    assert isinstance(ended.value.code, str) and says in ended.value.code and "\n" not in ended.value.code


@pytest.mark.parametrize("hung", ["in", "out"])
def test_a_folder_that_does_not_answer_ends_in_one_line(
    hung: str, folder: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
):
    answer, look, output = threading.Event(), shared_folders._look, folder.parent / "out" / "a.csv"
    monkeypatch.setattr(
        request, "touch", lambda place: shared_folders.touch(place, seconds=0.1 if place.name == hung else 60)
    )
    monkeypatch.setattr(shared_folders, "_look", lambda place: answer.wait() if place.name == hung else look(place))
    try:
        with pytest.raises(SystemExit, match=rf"{hung} does not answer within 0\.1 seconds"):
            predict(output, folder)
    finally:
        answer.set()
    assert not output.exists()


def test_a_sample_lies_beside_the_table_and_replaces_no_other_file(folder: Path, predict: Predict):
    predict(folder.parent / "out.parquet", folder)
    sample = pandas.read_csv(folder.parent / "out.sample.csv")
    assert len(sample) == 8 and sample["smooth_or_featured_smooth_fraction"].notna().sum() == 6
    (folder.parent / "out.sample.csv").write_text("mine\n")
    with pytest.raises(SystemExit, match=r"out\.sample\.csv exists and is not of this project; .* use --overwrite$"):
        predict(folder.parent / "out.parquet", folder)
    assert (folder.parent / "out.sample.csv").read_text() == "mine\n"


def test_what_stopped_goes_on_with_the_parts_that_are_missing(
    folder: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(row_store, "ROWS_PER_PART", 3)
    expected = predict(folder.parent / "a.parquet", folder)
    saved, save = [], row_store.RowStore.save

    def stop_after(count: int) -> None:
        def stopping(self: row_store.RowStore, index: int, table: object, pictures: Sequence[bytes]) -> None:
            save(self, index, table, pictures)
            saved.append(index)
            if len(saved) == count:
                raise KeyboardInterrupt

        monkeypatch.setattr(row_store.RowStore, "save", stopping)

    output = folder.parent / "out.parquet"
    stop_after(2)
    with pytest.raises(SystemExit):
        predict(output, folder)
    assert saved == [0, 1] and not output.exists()
    stop_after(99)
    rows = predict(output, folder)
    assert saved == [0, 1, 2]
    for name, values in expected.items():
        np.testing.assert_array_equal(rows[name], values)
    # Another choice of columns, or a changed image, is another run.
    saved.clear()
    stop_after(1)
    with pytest.raises(SystemExit):
        predict(output, folder)
    stop_after(99)
    os.utime(folder / "galaxy 0.png", (1, 1))
    predict(output, folder)
    assert saved == [0, 0, 1, 2]


def start(folder: Path, output: Path, *arguments: object) -> subprocess.Popen:
    command = [
        sys.executable,
        ROOT / "predict_galaxies.py",
        folder,
        "--model",
        exported.tiny_model(),
        "--output",
        output,
    ]
    return subprocess.Popen(
        [*map(str, command), "--num-workers", "2", "--threads", "1", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder.parent,
    )


def test_a_table_that_exists_is_named_before_it_is_replaced(folder: Path, predict: Predict, capsys):
    output = folder.parent / "a.csv"
    predict(output, folder)
    assert "replaces it" not in capsys.readouterr().out
    predict(output, folder)
    assert f"{output} existed; the new table replaced it" in capsys.readouterr().out


def test_worker_processes_give_the_same_rows(folder: Path, predict: Predict):
    expected = predict(folder.parent / "a.parquet", folder)
    with start(folder, folder.parent / "b.parquet") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "wrote 8 rows" in out and "; 2 could not be read (see column reason)" in out
    rows = read_columns(folder.parent / "b.parquet")
    for name, values in expected.items():
        np.testing.assert_array_equal(rows[name], values)


def test_a_file_that_ends_its_process_is_one_row(folder: Path, monkeypatch: pytest.MonkeyPatch):
    targets = [FileTarget(path) for path in sorted(folder.glob("galaxy*"))]
    targets.insert(2, FileTarget(folder / "killer.png"))
    recipe = Recipe(None, "auto", 160.0)
    monkeypatch.setattr(read_ahead, "frame_target", crafted.kill_or_frame)
    results = list(read_ahead.framed_ahead(targets, recipe, 2))
    assert [isinstance(each, framing.Frame) for each in results] == [True, True, False, True, True, True, True]
    assert results[2] == read_ahead.KILLED


@pytest.mark.skipif("TORTURE" not in os.environ, reason="takes minutes: TORTURE=1")
def test_twenty_kills_cost_no_row(folder: Path, predict: Predict):
    source = sorted(folder.glob("galaxy*"))
    for number in range(900):
        (folder / f"copy {number}.png").symlink_to(source[number % len(source)])
    expected = predict(folder.parent / "a.parquet", folder)
    output = folder.parent / "b.parquet"
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 20:
        output.unlink(missing_ok=True)
        while not output.exists():
            process = start(folder, output)
            try:
                process.communicate(timeout=rng.uniform(5, 12) if kills < 20 else 600)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        rows = read_columns(output)
        for name, values in expected.items():
            np.testing.assert_array_equal(rows[name], values)
    time.sleep(1)
    assert not list(folder.parent.glob(".b*"))


def mixed_files(folder: Path, number: int, largest: int) -> None:
    """Write files of all kinds and sizes, good and bad, under names of all kinds."""
    rng = np.random.default_rng(9)
    for bad, case in enumerate(crafted.BAD):
        if case != "missing":
            crafted.write_bad(case, folder, f"bad {bad}.jpg")
    names = [
        "with space",
        "quote'\"",
        "new\nline",
        "naïve Ω",
        "<script>alert(1)<script>",
        "$(touch x)",
        "-rf",
        "%s",
        "a;b",
    ]
    side = 30
    for each in range(number):
        side = int(np.exp(rng.uniform(np.log(30), np.log(largest))))
        pixels = np.asarray(Image.fromarray(draw_blob(rng)).resize((side, max(30, side * rng.integers(1, 3) // 2))))
        stem = folder / f"{each} {names[each % len(names)]}"
        kind = each % 6
        if kind == 5:
            cube = np.moveaxis(pixels, 2, 0).astype(np.float32)
            cube = cube if each % 4 else cube[0]
            fits.PrimaryHDU(cube).writeto(f"{stem}.fits")
        else:
            image = Image.fromarray(pixels)
            image = image.convert("L") if each % 5 == 0 else image
            image.save(f"{stem}{('.jpg', '.png', '.tif', '.tiff', '.jpeg')[kind]}")
    for name, value in (("nan", np.nan), ("zeros", 0)):
        fits.PrimaryHDU(np.full((3, 80, 80), value, np.float32)).writeto(folder / f"{name}.fits")
    (folder / "circle").symlink_to(folder)
    (folder / "folder.jpg").mkdir()


def giant_files(folder: Path, side: int) -> None:
    """Write one image of each format as large as any may be."""
    pixels = np.tile(draw_blob(np.random.default_rng(3))[:400, :400], (side // 400, side // 400, 1))
    (folder / "giant.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    assert cv2.imwrite(str(folder / "giant.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    tifffile.imwrite(folder / "giant.tif", pixels, photometric="rgb")
    fits.PrimaryHDU(pixels[..., 1].astype(np.int16)).writeto(folder / "giant.fits")


@pytest.mark.parametrize(
    ("number", "largest"),
    [
        (12, 600),
        pytest.param(266, 2000, marks=pytest.mark.skipif("TORTURE" not in os.environ, reason="minutes: TORTURE=1")),
    ],
)
def test_mixed_files_are_one_row_each_in_little_memory(number: int, largest: int, tmp_path: Path):
    folder, output = tmp_path / "in", tmp_path / "out" / "c.parquet"
    folder.mkdir()
    mixed_files(folder, number, largest)
    if number > 100:
        giant_files(folder, 20_000)
        number += 4
    before = sorted(tmp_path.rglob("*"))
    peak = 0
    with start(folder, output, "--framing", "auto") as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.05)
        _, err = process.communicate()
    assert process.returncode == 0 and err == "", err
    rows = read_columns(output)
    files = [path for path in before if not path.is_dir() and not path.is_symlink()]
    assert sorted(rows["file_loc"]) == sorted(str(path) for path in files)
    assert all(
        (status == "ok") == (reason == "") for status, reason in zip(rows["status"], rows["reason"], strict=True)
    )
    assert (rows["status"] == "ok").sum() == number + 1
    print(f"{len(rows['status'])} files, peak memory {peak / 1e9:.2f} GB")
    assert peak < 2e9
    new = set(tmp_path.rglob("*")) - set(before)
    assert {path.name for path in new} == {"out", "c.parquet", "c.sample.csv"}


def test_a_report_and_a_tree_are_made_beside_the_table(folder: Path, predict: Predict, capsys: pytest.CaptureFixture):
    report, tree = folder.parent / "pages" / "report.html", folder.parent / "tree.png"
    rows = predict(folder.parent / "out.parquet", folder, "--full", "--report", report)
    text = report.read_text()
    assert f"report: {report}" in capsys.readouterr().out
    assert "6 galaxies, 2 files that could not be read" in text and "cannot be decoded as a PNG" in text
    assert f'"names":{json.dumps([f"galaxy {number}" for number in range(6)], separators=(",", ":"))}' in text
    predict(folder.parent / "one.parquet", folder / "galaxy 3.png", "--weighted", "--draw", tree)
    again = predict(folder.parent / "out.parquet", folder, "--report", folder / "report.html", "--overwrite")
    assert list(predict(folder.parent / "out.parquet", folder, "--report", folder / "report.html")["id_str"]) == list(
        again["id_str"]
    ), "the page is none of the images"
    with Image.open(tree) as image:
        assert image.width > image.height > 1000
    assert {path.name for path in folder.parent.iterdir()} >= {"out.parquet", "one.parquet", "pages", "tree.png"}
    assert len(rows["id_str"]) == 8


def test_a_page_frames_no_image_twice_and_a_table_makes_no_pictures(
    folder: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
):
    framed, encoded, frame, encode = [], [], FileTarget.frame, thumbnails.encode
    monkeypatch.setattr(FileTarget, "frame", lambda self, *recipe: framed.append(self.path) or frame(self, *recipe))
    monkeypatch.setattr(thumbnails, "encode", lambda *picture: encoded.append(1) or encode(*picture))
    predict(folder.parent / "out.parquet", folder, "--report", folder.parent / "page.html")
    assert len(framed) == len(set(framed)) == 8 and len(encoded) == 6
    predict(folder.parent / "out.parquet", folder)
    assert len(framed) == 16 and len(encoded) == 6


PYTHON = """\
from predict_galaxies import catalogue
table = catalogue("my_galaxies")
table = catalogue("field.fits", detect=True, output="field.parquet", report="field.html")
"""


def test_the_three_documented_lines_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = (ROOT / "doc" / "own_images.md").read_text()
    first, *calls = PYTHON.splitlines()
    assert all(line in page for line in (first, *calls)) and all(line in catalogue.__doc__ for line in (first, *calls))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_galaxies").mkdir()
    rng = np.random.default_rng(5)
    for name in ("a", "b"):
        Image.fromarray(draw_blob(rng)).save(tmp_path / "my_galaxies" / f"{name}.png")
    (tmp_path / "my_galaxies" / "c.png").write_bytes(b"")
    fits.PrimaryHDU(draw_field(stars=12)[0]).writeto(tmp_path / "field.fits")
    names: dict[str, object] = {}
    exec("\n".join([first, calls[0]]), names)
    table = names["table"]
    assert isinstance(table, pandas.DataFrame)
    assert (list(table["id_str"]), list(table["status"])) == (["a", "b", "c"], ["ok", "ok", "unreadable"])
    assert table["smooth_or_featured_smooth_fraction"].notna().tolist() == [True, True, False]
    assert {path.name for path in tmp_path.iterdir()} == {"my_galaxies", "field.fits"}, "nothing is written"
    exec(calls[1], names)
    written = {"field.parquet", "field.html", "field.field.jpg", "field.field.reg", "field.sample.csv"}
    assert {path.name for path in tmp_path.iterdir()} == {"my_galaxies", "field.fits", *written}
    pandas.testing.assert_frame_equal(names["table"], pandas.read_parquet(tmp_path / "field.parquet"))
    assert (names["table"]["object"] == "galaxy").sum() >= len(GALAXIES)


def test_python_and_the_command_give_the_same_rows(folder: Path, predict: Predict):
    expected = predict(folder.parent / "out.parquet", folder, "--full", "--weighted")
    model, choices = exported.tiny_model(), {"full": True, "weighted": True, "num_workers": 0, "threads": 1}
    table = catalogue([folder / "a.jpg", *sorted(folder.glob("*.png"))], model=model, **choices)
    assert list(table) == list(expected)
    for name, values in expected.items():
        found = table[name].fillna("") if values.dtype == object else table[name]
        np.testing.assert_array_equal(found.to_numpy().astype(values.dtype), values, err_msg=name)
    half = catalogue(folder, model=[model], shard=(2, 2), output=folder.parent / "half.csv", **choices)
    assert list(half["id_str"]) == list(expected["id_str"][4:])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"framing": "none"}, "expected a framing of auto, sdss, got 'none'"),
        ({"stretch": "root"}, "expected a stretch of .*, got 'root'"),
        ({"shard": (1, 2)}, "expected --shard with --output"),
        ({"images": []}, "expected images, got none"),
        ({"output": "a.txt"}, "expected an --output that ends with"),
    ],
)
def test_python_refuses_what_the_command_does(arguments: dict, says: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=says):
        catalogue(**{"images": "in", **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("in", "--report", "page.txt"), "expected a --report that ends with .html"),
        (("in", "--draw", "tree.gif"), "expected a --draw that ends with .png, .svg, .pdf"),
        (("in", "--draw", "tree.png"), "expected one image to --draw, got 8"),
        (("in", "--shard", "1/2", "--draw", "tree.png"), "expected --draw without --shard"),
        (("--merge", "a.parquet", "--report", "page.html"), "expected --merge without --report and --draw"),
    ],
)
def test_what_can_not_be_shown_is_told_before_any_work(
    folder: Path, run_main: Callable[..., None], monkeypatch: pytest.MonkeyPatch, arguments: tuple, line: str
):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: run_main(predict_galaxies, *arguments, "--output", "c.csv"))
    assert str(ended.value.code).startswith(f"error: {line}")
    assert [path.name for path in folder.parent.iterdir()] == ["in"]


def test_an_image_without_answers_has_no_tree_but_its_row(folder: Path, predict: Predict):
    with pytest.raises(SystemExit, match=r"a\.jpg is empty; there is no tree to draw"):
        predict(folder.parent / "out.csv", folder / "a.jpg", "--draw", folder.parent / "tree.png")
    assert (folder.parent / "out.csv").is_file() and not (folder.parent / "tree.png").exists()


@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [
        ("predict_galaxies, catalogue.job", {"jinja2", "matplotlib", "torch", "scipy", "astropy", "pandas"}),
        # A worker process imports the script and what frames images.
        ("predict_galaxies, catalogue.read_ahead", {"scipy", "astropy", "pandas", "pyarrow", "onnxruntime"}),
    ],
)
def test_a_table_of_pictures_needs_few_libraries(modules: str, unneeded: set[str]):
    code = f"import sys, {modules}; print(sys.modules.keys() & {unneeded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
