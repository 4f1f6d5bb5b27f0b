"""One command from what one has to what the scripts need, and any experiment trains on what it makes."""

import csv
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas
import pytest
from crafted import HOSTILE_ZIPS, zip_of
from tiny import (
    ROOT,
    TINY,
    Survey,
    cases_of,
    draw_blob,
    files_of,
    held,
    is_killed_at_file,
    refused,
    rows_of_page,
    run,
    write_csv,
    write_jpeg,
)

import check_label_constraints
import convert_training_labels_to_npy
import create_test_ids_file
import create_train_ids_file
import prepare_data
from engine import prediction
from galaxy.answer_names import PUBLISHED_NAMES
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.tables import original
from survey import folders, images
from survey.folders import use_folders


def download_of(survey: Survey, place: Path) -> Path:
    """Write a survey as Kaggle gives it: a zip of zips."""

    def zipped(*paths: Path) -> bytes:
        return zip_of({str(path.relative_to(survey.raw)): path.read_bytes() for path in paths})

    place.mkdir()
    content = {
        "images_training_rev1.zip": zipped(*(survey.raw / "images_train_rev1").iterdir()),
        "images_test_rev1.zip": zipped(*(survey.raw / "images_test_rev1").iterdir()),
        "training_solutions_rev1.zip": zipped(survey.csv),
    }
    (place / "galaxy-zoo-the-galaxy-challenge.zip").write_bytes(zip_of(content))
    return place


class TestKaggle:
    def test_one_command_does_what_the_single_scripts_do(self, survey: Survey, run_main, tmp_path: Path, capsys):
        place = download_of(survey, tmp_path / "downloads")
        run_main(prepare_data, "--kaggle", place, "--root", tmp_path / "root", "--check-images")
        out = capsys.readouterr().out
        for script in (create_train_ids_file, create_test_ids_file, convert_training_labels_to_npy):
            run_main(script, "--root", survey.root)
        run_main(check_label_constraints, "--root", survey.root)
        assert files_of(tmp_path / "root" / "data") == files_of(survey.root / "data")
        rows = {" ".join(line.split()[:-1]) for line in out.splitlines()}
        assert {"training images 30, all decoded", "test images 8, all decoded", "labels 30 x 37"} <= rows
        assert {"training ids 30", "test ids 8", "decision tree obeyed"} <= rows
        assert "catalogue gen2   not measured" in out
        last = out.splitlines()[-1]
        assert last.startswith("everything is ready; next: python try_") and last.endswith(
            f"--root {tmp_path / 'root'}"
        )
        assert (ROOT / last.split()[5]).is_file()

    @pytest.mark.parametrize(
        ("num_few", "num_many", "command"),
        [
            (31, 31, r"try_finetune_\w+\.py --epochs 40 --start-from lite0"),
            (30, 31, r"try_finetune_\w+\.py --epochs 18"),
            (30, 30, r"try_convnet_\w+\.py"),
        ],
    )
    def test_the_next_command_fits_the_number_of_galaxies(
        self, survey: Survey, run_main, capsys, monkeypatch, num_few: int, num_many: int, command: str
    ):
        monkeypatch.setattr(prepare_data, "FEW", num_few)
        monkeypatch.setattr(prepare_data, "MANY", num_many)
        run_main(prepare_data, "--root", survey.root)
        assert re.search(f"next: python {command} --root", capsys.readouterr().out.splitlines()[-1])

    def test_without_a_place_it_looks_in_the_data_folder(self, survey: Survey, run_main, capsys):
        run_main(prepare_data, "--root", survey.root)
        assert "brought 0 files" in capsys.readouterr().out
        np.testing.assert_array_equal(np.load(survey.root / "data" / "train_ids.npy"), survey.train_ids)

    def test_what_is_missing_is_said_after_what_is_ready(self, survey: Survey, run_main, capsys):
        shutil.rmtree(survey.raw / "images_test_rev1")
        with pytest.raises(SystemExit) as ended:
            prepare(run_main, "--root", survey.root)
        assert ended.value.code == (
            "error: not ready: test images: download images_test_rev1.zip from Kaggle, and run this again"
        )
        assert "training images  30 " in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda s: s.csv.unlink(), "not ready: table of votes: download training_solutions_rev1.zip from Kaggle"),
            (
                lambda s: (s.raw / "images_train_rev1" / f"{s.train_ids[4]}.jpg").unlink(),
                r"not ready: training images: download them again, {0}\.jpg first",
            ),
            (
                lambda s: write_csv(s.csv, s.train_ids, s.labels * 0.9),
                "not ready: decision tree: .* but 30 of 30 galaxies are not",
            ),
            (
                lambda s: (s.raw / "images_train_rev1" / f"{s.train_ids[4]}.jpg").write_bytes(b"<html>"),
                r"not ready: training images: 1 of 30 train images are bad: {0}\.jpg .* a web page",
            ),
            (lambda s: write_csv(s.csv, s.train_ids[:9], s.labels[:9]), "but [0-9]+.jpg has no line"),
        ],
    )
    def test_what_is_not_ready_ends_with_one_line(self, survey: Survey, run_main, spoil, reason: str):
        spoil(survey)
        with pytest.raises(SystemExit, match=reason.format(survey.train_ids[4])):
            prepare(run_main, "--root", survey.root, "--check-images")

    def test_ids_that_change_make_catalogues_stale(self, prepared_survey: Survey, run_main, capsys):
        catalogue = prepared_survey.root / "data" / "pysex_params_gen2_train.npy.gz"
        catalogue.write_bytes(b"a catalogue")
        run_main(prepare_data, "--root", prepared_survey.root)
        assert "delete it" not in capsys.readouterr().out
        write_csv(prepared_survey.csv, prepared_survey.train_ids[::-1], prepared_survey.labels[::-1])
        run_main(prepare_data, "--root", prepared_survey.root)
        assert f"{catalogue} is of other galaxies" in capsys.readouterr().out

    def test_what_a_killed_run_left_half_written_is_removed(self, survey: Survey, run_main):
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            pass
        half = survey.root / "data" / f".train_ids.npy.{gone.pid}.part"
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half")
        run_main(prepare_data, "--root", survey.root)
        assert not half.exists() and (survey.root / "data" / "train_ids.npy").is_file()

    def test_two_at_once_are_refused(self, survey: Survey, run_main):
        use_folders(survey.root)
        with (
            held(folders.current.data_lock("prepare")),
            pytest.raises(SystemExit, match="preparation of the data is under way already"),
        ):
            prepare(run_main, "--root", survey.root)

    def test_killed_again_and_again_it_ends_with_the_same_files(self, survey: Survey, tmp_path: Path, run_main):
        place = download_of(survey, tmp_path / "downloads")

        def bring(root: str) -> None:
            run_main(prepare_data, "--kaggle", place, "--root", tmp_path / root)

        bring("whole")
        for count in (2, 20, 18, 2):
            assert is_killed_at_file(count, lambda: bring("killed"))
        bring("killed")
        assert files_of(tmp_path / "killed" / "data") == files_of(tmp_path / "whole" / "data")


def prepare(run_main: Callable, *arguments: object) -> None:
    """Run the script as a program's entry does."""
    from machine.command_line import run_script

    run_script(lambda: run_main(prepare_data, *arguments))


NUM_GALAXIES = 24
GALAXIES = [f"J{number:02d}.5-0{number % 3}" for number in range(NUM_GALAXIES)]


@pytest.fixture(scope="module")
def cutouts_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write images of several kinds and sizes, the last four of them without a row, and counts in a table."""
    place = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(8)
    (place / "cutouts" / "more").mkdir(parents=True)
    for number, name in enumerate(GALAXIES):
        image = draw_blob(rng)
        if number % 3 == 0:
            write_jpeg(place / "cutouts" / f"{name}.jpg", image)
        elif number % 3 == 1:
            cv2.imwrite(str(place / "cutouts" / "more" / f"{name}.png"), image[50:350, 20:400])
        else:
            cv2.imwrite(str(place / "cutouts" / f"{name}.tif"), image.astype(np.uint16) * 257)
    counts = np.ones((NUM_GALAXIES - 4, 37), int) * (1 + np.arange(NUM_GALAXIES - 4)[:, None] % 7)
    counts[:, GALAXY_ZOO_2.column(1, 1)] += 1 + np.arange(NUM_GALAXIES - 4)
    table = pandas.DataFrame(counts, columns=[f"{name}_count" for name in PUBLISHED_NAMES])
    table.insert(0, "iauname", GALAXIES[:-4])
    table.to_csv(place / "votes.csv", index=False)
    return place


@pytest.fixture
def own(cutouts_template: Path, tmp_path: Path) -> Path:
    shutil.copytree(cutouts_template, tmp_path / "own")
    return tmp_path / "own"


def prepare_own(run_main: Callable, own: Path, *arguments: object) -> Path:
    root = own / "root"
    prepare(run_main, "--images", own / "cutouts", "--labels", own / "votes.csv", "--root", root, *arguments)
    return root


def names_of(root: Path, subset: str) -> dict[int, str]:
    with (root / "data" / "own_ids.csv").open(newline="") as file:
        return {int(row["id"]): row["name"] for row in csv.DictReader(file) if row["subset"] == subset}


class TestOwnGalaxies:
    def test_images_and_votes_are_ready_to_be_trained_on(self, own: Path, run_main, capsys):
        root = prepare_own(run_main, own, "--check-images")
        out = capsys.readouterr().out
        assert "4 images have no row in" in out and "they are the test set" in out
        assert "training images  20, all decoded" in out and "test images      4, all decoded" in out
        assert out.splitlines()[-1].startswith("everything is ready; next: python try_")
        use_folders(root)
        train, test = names_of(root, "train"), names_of(root, "test")
        assert sorted([*train.values(), *test.values()]) == GALAXIES
        assert images.load_ids("train").tolist() == list(train)
        assert images.load_ids("test").tolist() == sorted(test)
        labels = images.load_labels()
        totals, expected = GALAXY_ZOO_2.question_totals(labels.astype(np.float64))
        np.testing.assert_allclose(totals, expected, atol=1e-6)
        rows = np.array([GALAXIES.index(name) for name in train.values()])
        ones = 1 + rows % 7
        np.testing.assert_allclose(labels[:, 0], (ones + rows + 1) / (3 * ones + rows + 1), rtol=1e-6)

    @pytest.mark.parametrize("suffix", [".parquet", ".fits"])
    def test_the_format_of_the_table_makes_no_difference(self, own: Path, run_main, suffix: str):
        pytest.importorskip("pyarrow" if suffix == ".parquet" else "astropy.table")
        root = prepare_own(run_main, own)
        table = pandas.read_csv(own / "votes.csv")
        if suffix == ".parquet":
            table.to_parquet(own / "votes.parquet")
        else:
            from astropy.table import Table

            Table.from_pandas(table).write(own / "votes.fits")
        other = own / "other"
        prepare(run_main, "--images", own / "cutouts", "--labels", own / f"votes{suffix}", "--root", other)
        assert files_of(other / "data") == files_of(root / "data")

    def test_any_experiment_trains_and_predicts_on_them(self, own: Path, run_main):
        root = prepare_own(run_main, own)
        analysis = run(run_main, types.SimpleNamespace(root=root), "--num-chunks", 1, "--chunk-size", 40)
        assert np.isfinite(analysis["losses_valid"][-1])
        script = types.SimpleNamespace(__name__="predict", main=lambda: prediction.main(TINY))
        run_main(script, "--root", root, "--device", "cpu", "--num-workers", 1)
        use_folders(root)
        assert folders.current.augmented("test", TINY.name).is_file()

    def test_what_is_there_needs_no_room(self, own: Path, run_main, monkeypatch):
        prepare_own(run_main, own)
        usage = type(shutil.disk_usage("/"))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 0))
        prepare_own(run_main, own)
        with pytest.raises(SystemExit, match=r"expected .* MB free in .*, got 0\.0 MB"):
            prepare(run_main, "--images", own / "cutouts", "--labels", own / "votes.csv", "--root", own / "another")

    def test_without_images_to_predict_those_of_validation_stand_in(self, own: Path, run_main, capsys):
        for name in GALAXIES[-4:]:
            [path] = (own / "cutouts").rglob(f"{name}.*")
            path.unlink()
        root = prepare_own(run_main, own)
        assert "the test set is the 2 validation galaxies" in capsys.readouterr().out
        assert list(names_of(root, "test").items()) == list(names_of(root, "train").items())[-2:]

    def test_images_to_predict_lie_in_a_folder_of_their_own(self, own: Path, run_main, capsys):
        (own / "others").mkdir()
        for name in ("7.jpg", "new.jpg"):
            write_jpeg(own / "others" / name, draw_blob(np.random.default_rng(1)))
        root = prepare_own(run_main, own, "--test", own / "others")
        assert "left out 4 images without a row in" in capsys.readouterr().out
        assert set(names_of(root, "test").values()) == {"7", "new"}
        assert names_of(root, "test")[7] == "7"

    def test_rows_and_images_that_do_not_match_are_told_in_a_line_each(self, own: Path, run_main, capsys):
        (own / "cutouts" / f"{GALAXIES[0]}.jpg").unlink()
        prepare_own(run_main, own)
        assert (
            f"left out 1 rows without an image in {own / 'cutouts'}, '{GALAXIES[0]}' first" in capsys.readouterr().out
        )

    def test_numbers_stay_when_images_come_and_go(self, own: Path, run_main):
        root = prepare_own(run_main, own)
        before = {name: id for subset in ("train", "test") for id, name in names_of(root, subset).items()}
        [path] = (own / "cutouts").rglob(f"{GALAXIES[5]}.*")
        path.unlink()
        for name in ("A.jpg", f"{before[GALAXIES[7]]}.jpg"):
            write_jpeg(own / "cutouts" / name, draw_blob(np.random.default_rng(2)))
        prepare_own(run_main, own)
        after = {name: id for subset in ("train", "test") for id, name in names_of(root, subset).items()}
        for name in set(GALAXIES) - {GALAXIES[5], GALAXIES[7]}:
            assert after[name] == before[name]
        assert len(set(after.values())) == len(after) == NUM_GALAXIES + 1
        assert after[f"{before[GALAXIES[7]]}"] == before[GALAXIES[7]]
        for subset in ("train", "test"):
            there = {int(path.stem) for path in (root / "data" / "raw" / f"images_{subset}_rev1").iterdir()}
            assert there == set(names_of(root, subset))

    def test_run_again_nothing_changes(self, own: Path, run_main):
        root = prepare_own(run_main, own)
        before = files_of(root)
        times = {path: path.stat().st_mtime_ns for path in (root / "data" / "raw").rglob("*.jpg")}
        prepare_own(run_main, own)
        assert files_of(root) == before
        assert {path: path.stat().st_mtime_ns for path in (root / "data" / "raw").rglob("*.jpg")} == times

    def test_validation_is_drawn_from_all_however_the_table_is_sorted(self, own: Path, run_main):
        first = prepare_own(run_main, own)
        order = list(names_of(first, "train").values())
        assert order != sorted(order)
        table = pandas.read_csv(own / "votes.csv")
        table[::-1].to_csv(own / "votes.csv", index=False)
        prepare_own(run_main, own)
        assert list(names_of(first, "train").values()) == order

    def test_images_that_can_not_be_used_are_named_and_the_good_ones_kept(self, own: Path, run_main):
        (own / "cutouts" / f"{GALAXIES[0]}.jpg").write_bytes(b"<html>")
        with pytest.raises(SystemExit, match=rf"1 of 24 images cannot be used: .*{GALAXIES[0]}\.jpg' is not an image"):
            prepare_own(run_main, own)
        write_jpeg(own / "cutouts" / f"{GALAXIES[0]}.jpg", draw_blob(np.random.default_rng(4)))
        prepare_own(run_main, own)

    def test_names_of_any_bytes_come_through(self, own: Path, run_main):
        names = ['a "b", c', "x\ny", "<script>", "é", "=1+1", r"\x3d", os.fsdecode(b"\xff\xfe")]
        for name in names:
            write_jpeg(own / "cutouts" / f"{name}.jpg", draw_blob(np.random.default_rng(5)))
        root = prepare_own(run_main, own)
        path = root / "data" / "own_ids.csv"
        with path.open(newline="", encoding="utf-8") as file:
            cells = [row["name"] for row in csv.DictReader(file)]
        assert set(names) <= set(map(original, cells))
        assert not [cell for cell in cells if cell.startswith("=")]

    def test_killed_again_and_again_it_ends_with_the_same_files(self, own: Path, run_main):
        def bring(root: str) -> None:
            flags = ("--images", own / "cutouts", "--labels", own / "votes.csv", "--num-workers", 1)
            run_main(prepare_data, *flags, "--root", own / root)

        bring("whole")
        for count in (2, 12, 9, 2):
            assert is_killed_at_file(count, lambda: bring("killed"))
        bring("killed")
        assert files_of(own / "killed" / "data") == files_of(own / "whole" / "data")


def with_zip(kind: str, name: str = "images_training_rev1.zip") -> Callable[[Path], list]:
    """Return what writes a hostile zip beside own galaxies, and the arguments that name it."""

    def spoil(own: Path) -> list:
        (own / name).write_bytes(HOSTILE_ZIPS[kind][0])
        return ["--kaggle", own / name]

    return spoil


def with_files(files: dict[str, bytes], *places: str) -> Callable[[Path], list]:
    def spoil(own: Path) -> list:
        for name, content in files.items():
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_bytes(content)
        return ["--kaggle", *(own / place for place in places)]

    return spoil


def with_own(name: str) -> Callable[[Path], list]:
    """Return what puts an empty file beside own galaxies, and the arguments for these."""

    def spoil(own: Path) -> list:
        with_files({name: b""})(own)
        return ["--images", own / "cutouts", "--labels", own / "votes.csv"]

    return spoil


def with_table(change: Callable[[pandas.DataFrame], pandas.DataFrame]) -> Callable[[Path], list]:
    def spoil(own: Path) -> list:
        change(pandas.read_csv(own / "votes.csv")).to_csv(own / "votes.csv", index=False)
        return ["--images", own / "cutouts", "--labels", own / "votes.csv"]

    return spoil


FIRST = f"{PUBLISHED_NAMES[0]}_count"
DAMAGED = zip_of({"7.jpg": b"an image of a galaxy"}).replace(b"of a galaxy", b"of a planet")
ZIP = "images_training_rev1.zip"
# What becomes of a folder with own galaxies, the arguments for it, and what is said.
PREPARATION = {
    "zip that leads out of its folder": [
        (with_zip(kind), HOSTILE_ZIPS[kind][1])
        for kind in ("name '../1.jpg'", "name '/tmp/1.jpg'", "name 'C:/1.jpg'", "link", "device")
    ],
    "zip that is a bomb": [
        *[(with_zip(kind), HOSTILE_ZIPS[kind][1]) for kind in ("bomb", "bomb that is not needed", "shared bytes")],
        (with_files({ZIP: zip_of({ZIP: zip_of({ZIP: zip_of({})})})}, ZIP), "it is a zip in a zip and contains zips"),
    ],
    "zip that is encrypted, or holds a name twice": [
        (with_zip(kind), HOSTILE_ZIPS[kind][1]) for kind in ("encrypted", "a name twice", "unusual compression")
    ],
    "zip that is damaged": [
        *[(with_zip(kind), HOSTILE_ZIPS[kind][1]) for kind in ("no zip", "nothing", "cut off")],
        (with_files({ZIP: DAMAGED}, ZIP), r"images_training_rev1\.zip: '7\.jpg' cannot be unpacked \(Bad CRC-32"),
    ],
    "nothing of Kaggle's": [
        (lambda own: ["--kaggle", own], "found none; download them from Kaggle"),
        (lambda own: ["--kaggle", own / "none"], "none is missing; expected Kaggle's zips"),
        (lambda own: ["--kaggle", own / "votes.csv"], "expected Kaggle's zips, the folder that they are in or"),
    ],
    "another file under the name of one that is downloaded": [
        (
            with_files({f"root/data/raw/images_train_rev1/{name}": b"mine", ZIP: zip_of({name: b"theirs"})}, ZIP),
            rf"{name} already exists, and differs from the one of .* \(4 bytes, not 6\); move it away",
        )
        for name in ("7.jpg", "100008.jpg")
    ],
    "own galaxies where others are": [
        (
            with_own("root/data/raw/images_test_rev1/7.jpg"),
            "already contains 7.jpg, which is not one of these galaxies",
        ),
        (
            with_files({"root/data/own_ids.csv": b"id,name,subset,file\n"}, "cutouts"),
            "holds own galaxies; name another",
        ),
    ],
    "column of votes without a match": [
        (with_table(lambda t: t.drop(columns=FIRST)), "1 have none, smooth-or-featured_smooth first"),
        (with_table(lambda t: t.assign(**{"Class1.1 count": 1})), "expected one column per answer, got t01_smooth"),
    ],
    "cell that is not a vote": [
        (with_table(lambda t, cell=cell: t.assign(**{FIRST: cell})), f"expected votes of at least 0, got '{cell}' for")
        for cell in ("many", "-1", "inf")
    ],
    "table that names no image": [
        (with_table(lambda t: t.drop(columns="iauname")), "expected the galaxies' names in a column like GalaxyID"),
        (with_table(lambda t: t.assign(iauname="x")), "iauname contains 'x', and an image is called 'J00.5-00'"),
    ],
    "galaxy with several rows": [
        (
            with_table(lambda t: pandas.concat([t, t[3:4]])),
            f"expected one row per galaxy, got several of '{GALAXIES[3]}'",
        )
    ],
    "two images of a name": [(with_own(f"cutouts/{GALAXIES[0]}.png"), "expected one image of each name, got")],
    "fewer than ten labelled galaxies": [(with_table(lambda t: t[:9]), "expected at least 10 training galaxies")],
}
# Rows of the page whose tests are functions of their own: what is left half done there is gone on with, or nothing is.
TOLD = {
    "own image that cannot be used",
    "row without an image, image without a row",
    "question without votes",
    "package that is missing",
    "no room for what is unpacked",
}


@pytest.mark.parametrize(("spoil", "complaint"), cases_of(PREPARATION))
def test_bad_preparation(own: Path, run_main, spoil: Callable[[Path], list], complaint: str):
    arguments = spoil(own)
    outside = files_of(own)
    assert re.search(complaint, refused(run_main, own / "root", prepare_data, *arguments))
    assert files_of(own) == outside


def test_the_page_has_a_row_for_each_test():
    assert rows_of_page("Downloads and own galaxies") == {*PREPARATION, *TOLD}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--images", "x"], "--images and --labels go together"),
        (["--labels", "x"], "--images and --labels go together"),
        (["--images", "x", "--labels", "y", "--kaggle", "z"], "are different surveys"),
        (["--votes", "words"], "argument --votes: invalid choice"),
    ],
)
def test_flags_that_do_not_fit_are_told(run_main, capsys, arguments: list[str], reason: str):
    with pytest.raises(SystemExit) as ended:
        run_main(prepare_data, *arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
