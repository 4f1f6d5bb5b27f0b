"""A test for each row of doc/bad_data.md, through the scripts: one clear line, exit status 1, nothing lost.

The rows about images are in test_bad_images.py, those about folders in test_bad_folders.py.
"""

import dataclasses
import gzip
import pickle
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crafted import npy_header
from tiny import ROOT, Survey, cases_of, draw_blob, refused, rows_of_page, write_csv, write_jpeg, write_models

import check_label_constraints
import convert_training_labels_to_npy
import create_submission_from_npy
import create_test_ids_file
import create_train_ids_file
import ensemble_predictions_npy
import load_data
import show_results
import try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense as model
from engine import prediction, training
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_gz, save_array, save_gz
from survey import folders, images, kaggle_labels
from survey.folders import use_folders

NAME = model.EXPERIMENT.name
BLOB = draw_blob(np.random.default_rng(7))
train_script = types.SimpleNamespace(__name__=NAME, main=lambda: training.main(model.EXPERIMENT))
predict_script = types.SimpleNamespace(__name__=NAME, main=lambda: prediction.main(model.EXPERIMENT))


def add_id(survey: Survey) -> None:
    save_array(survey.root / "data" / "test_ids.npy", np.append(survey.test_ids, 999999))


def save_ids(survey: Survey, change: Callable[[np.ndarray], np.ndarray]) -> None:
    save_array(survey.root / "data" / "train_ids.npy", change(survey.train_ids))


def save_weights(survey: Survey, weights: np.ndarray) -> None:
    save_array(survey.root / "data" / "weights_train.npy", weights)


def rename(survey: Survey, name: str) -> None:
    (survey.raw / "images_test_rev1" / "7.jpg").rename(survey.raw / "images_test_rev1" / name)


def edit_csv(survey: Survey, change: Callable[[list[list[str]]], object]) -> None:
    """Change the cells of the table of labels, a list for each line, in place or by returning others."""
    lines = [line.split(",") for line in survey.csv.read_text().splitlines()]
    survey.csv.write_text("\n".join(map(",".join, change(lines) or lines)) + "\n")


def set_cell(line: int, column: int, cell: str) -> Callable[[Survey], None]:
    return lambda survey: edit_csv(survey, lambda lines: lines[line].__setitem__(column, cell))


def set_labels(survey: Survey, column: slice | int, values: object) -> None:
    labels = survey.labels.copy()
    labels[7, column] = values
    write_csv(survey.csv, survey.train_ids, labels)


def save_labels(survey: Survey, change: Callable[[np.ndarray], np.ndarray]) -> None:
    save_array(survey.root / "data" / "solutions_train.npy", change(survey.labels.astype(np.float32)))


NO_NUMBER = "line 5 contains a cell that is not a number, or a wrong GalaxyID"
# The script, what becomes of the survey, and what is said of it.
IDS_AND_LABELS = {
    "ID without image": [(train_script, add_id, r"999999\.jpg.*missing|missing.*999999\.jpg")],
    "image without ID": [
        (
            create_train_ids_file,
            lambda s: write_jpeg(s.raw / "images_train_rev1" / "3.jpg", BLOB),
            r"expected an image for each line of .*, but 3\.jpg has no line \(1 such images\)",
        )
    ],
    "duplicate IDs": [
        (
            create_train_ids_file,
            lambda s: write_csv(s.csv, [s.train_ids[17], *s.train_ids[1:]], s.labels),
            r"expected each GalaxyID once, got [0-9]+ twice",
        ),
        (
            convert_training_labels_to_npy,
            lambda s: save_ids(s, lambda ids: ids[[0, 1, 1]]),
            r"train_ids\.npy: expected each id once, got [0-9]+ twice; run create_train_ids_file\.py again",
        ),
    ],
    "IDs that are not numbers": [
        *[
            (create_test_ids_file, lambda s, name=name: rename(s, name), "expected images named by their id, as in")
            for name in ("galaxy.jpg", "12a.jpg", "-3.jpg", "007.jpg", "1.5.jpg", "٣.jpg", "9" * 19 + ".jpg")
        ],
        *[
            (create_train_ids_file, set_cell(4, 0, cell), NO_NUMBER)
            for cell in ("many", "", "nan", "inf", "1.5", "-8", "9" * 19, "9" * 40)
        ],
        *[
            (convert_training_labels_to_npy, lambda s, ids=ids: save_ids(s, lambda _: ids), r"expected (ids|integers)")
            for ids in (np.zeros(3), np.zeros((3, 1), int), np.array([4, -5]), np.zeros(0, int))
        ],
        (convert_training_labels_to_npy, lambda s: save_ids(s, lambda _: np.array(["a"])), "expected numbers, its"),
    ],
    "ID without labels": [
        (
            convert_training_labels_to_npy,
            lambda s, stranger=stranger: save_ids(s, lambda ids: np.append(ids, stranger)),
            rf"GalaxyID {stranger} has none.*create_train_ids_file\.py",
        )
        for stranger in (1, 10**9)
    ],
    "table without a column": [
        (create_train_ids_file, set_cell(0, column, "Else"), rf"37 answer columns, but {name} is missing")
        for column, name in ((0, "GalaxyID"), (1, r"Class1\.1"), (37, r"Class11\.6"))
    ],
    "table of another shape": [
        (create_train_ids_file, lambda s: edit_csv(s, lambda rows: [*rows[:5], rows[5] + ["1"]]), "not a CSV table"),
        (
            create_train_ids_file,
            lambda s: edit_csv(s, lambda rows: rows[:1] + [[*row, "1"] for row in rows[1:]]),
            r"not a CSV table \(Length of header or names does not match length of data",
        ),
        (create_train_ids_file, lambda s: edit_csv(s, lambda rows: [*rows[:4], rows[4][:-1]]), NO_NUMBER),
        (
            create_train_ids_file,
            lambda s: edit_csv(s, lambda rows: [[*row, row[5]] for row in rows]),
            "each column once",
        ),
        (create_train_ids_file, lambda s: edit_csv(s, lambda rows: rows[:1]), "one line per galaxy, got none"),
        (create_train_ids_file, lambda s: s.csv.write_bytes(b""), r"but GalaxyID, Class1\.1, Class1\.2, \.\.\. is"),
        (create_train_ids_file, lambda s: s.csv.write_bytes(bytes(range(256)) * 20), "expected GalaxyID and 37 answer"),
        (create_train_ids_file, lambda s: s.csv.write_bytes(s.csv.read_bytes() + b"\xff"), "is not a CSV table"),
        (create_train_ids_file, lambda s: s.csv.write_bytes(b"x," * 10**6), "expected GalaxyID and 37 answer"),
        (
            create_train_ids_file,
            lambda s: s.csv.unlink(),
            "is missing; download it from Kaggle or run simulate_galaxies",
        ),
    ],
    "vote that is not a number": [
        (script, set_cell(4, column, cell), NO_NUMBER)
        for script in (convert_training_labels_to_npy, check_label_constraints)
        for column in (1, 37)
        for cell in ("nan", "many", "", "inf", "-inf", "1e400")
    ],
    "negative vote, or above 1": [
        (
            convert_training_labels_to_npy,
            lambda s, value=value: set_labels(s, 5, value),
            rf"within \[0, 1\], got {value} for GalaxyID [0-9]+ in Class3\.1 \(1 such cells\)",
        )
        for value in (-0.5, 1.25)
    ]
    + [
        (
            check_label_constraints,
            lambda s: set_labels(s, GALAXY_ZOO_2.slices[6], (-0.5, 1.5)),
            "but 1 of 30 galaxies are not, GalaxyID",
        )
    ],
    "labels that violate the tree": [
        (
            check_label_constraints,
            lambda s: set_labels(s, GALAXY_ZOO_2.slices[1], (0.5, 0.5, 0.125)),
            r"within 1e-05 of the decision tree, but 1 of 30 galaxies are not, GalaxyID [0-9]+ first",
        )
    ],
    "labels that do not fit the ids": [
        (
            train_script,
            lambda s: save_labels(s, lambda labels: labels[:-1]),
            r"expected floats \(30, 37\), got float32 \(29, 37\); delete it and run convert_training_labels_to_npy\.py",
        ),
        (train_script, lambda s: save_labels(s, lambda labels: labels * np.nan), "expected finite numbers, got NaN"),
    ],
    "weights of galaxies that do not fit": [
        (
            train_script,
            lambda s: save_weights(s, np.ones(7)),
            r"expected floats \(30,\), got .*run prepare_data\.py again",
        ),
        (train_script, lambda s: save_weights(s, np.full(30, np.nan)), "expected weights of at least 0, got others"),
        (train_script, lambda s: save_weights(s, np.zeros(30)), "expected a weight above 0 for a training galaxy"),
    ],
    "ids or labels not made yet": [
        (
            convert_training_labels_to_npy,
            lambda s: (s.root / "data" / "train_ids.npy").unlink(),
            "run create_train_ids",
        ),
        (train_script, lambda s: (s.root / "data" / "train_ids.npy").unlink(), r"run create_train_ids_file\.py first"),
        (train_script, lambda s: (s.root / "data" / "test_ids.npy").unlink(), r"run create_test_ids_file\.py first"),
        (
            train_script,
            lambda s: (s.root / "data" / "solutions_train.npy").unlink(),
            r"run convert_training_labels_to_npy\.py first",
        ),
    ],
}


def save_pickle(content: bytes) -> None:
    path = folders.current.analysis(NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def start_there() -> None:
    sys.argv += ["--start-from", NAME]
    training.main(dataclasses.replace(model.EXPERIMENT, name="started"))


starting_script = types.SimpleNamespace(__name__="started", main=start_there)
PICKLES = {
    "starting weights that are damaged, foreign or of another network": [
        (starting_script, lambda s: save_pickle(b"no pickle"), "cannot be read"),
        (starting_script, lambda s: save_pickle(pickle.dumps([1])), "expected the parameters of a trained network"),
        (
            starting_script,
            lambda s: save_pickle(pickle.dumps({"param_values": [np.zeros((3, 3))] * 4})),
            "or of one that shares a layer with it, got 4 arrays, of which none fits",
        ),
    ],
    "pickle that is damaged or runs something": [
        (
            predict_script,
            lambda s: save_pickle(pickle.dumps(Path("x"))),
            r"it holds pathlib.*Path, and.*; run try_.*\.py again",
        ),
        (
            predict_script,
            lambda s: save_pickle(pickle.dumps({"a": 1})[:-3]),
            r"cannot be read.*; run try_.*\.py again",
        ),
        (predict_script, lambda s: save_pickle(pickle.dumps([1])), "expected a dictionary with param_values"),
    ],
}


@pytest.mark.parametrize(("script", "spoil", "complaint"), cases_of(IDS_AND_LABELS | PICKLES))
def test_bad_ids_and_labels(prepared_survey: Survey, run_main, script: object, spoil, complaint: str):
    spoil(prepared_survey)
    assert re.search(complaint, refused(run_main, prepared_survey.root, script))


def test_table_that_is_too_large(survey: Survey, run_main, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kaggle_labels, "MAX_BYTES", 1000)
    assert "expected at most 1000 bytes, got 1" in refused(run_main, survey.root, create_train_ids_file)


def test_table_with_columns_in_another_order(survey: Survey, run_main):
    edit_csv(survey, lambda lines: [line[::-1] for line in lines])
    run_main(create_train_ids_file, "--root", survey.root)
    run_main(convert_training_labels_to_npy, "--root", survey.root)
    np.testing.assert_array_equal(load_data.train_ids, survey.train_ids)
    np.testing.assert_array_equal(images.load_labels(), survey.labels.astype(np.float32))


def test_table_with_more_columns_and_quotes(survey: Survey):
    edit_csv(survey, lambda lines: [["words", *[f'"{cell}"' for cell in line]] for line in lines])
    ids, labels = images.read_labels_csv()
    np.testing.assert_array_equal(ids, survey.train_ids)
    np.testing.assert_array_equal(labels, survey.labels)


def test_tolerance_of_labels_that_violate_the_tree(survey: Survey, run_main):
    set_labels(survey, GALAXY_ZOO_2.slices[1], (0.5, 0.5, 0.125))
    run_main(check_label_constraints, "--root", survey.root, "--tolerance", 0.6)


def spoil_predictions(part: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[str], None]:
    def spoil(name: str) -> None:
        path = folders.current.augmented(part, name)
        save_gz(path, change(load_gz(path)))

    return spoil


def with_nan(value: float, row: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.where(np.arange(len(array))[:, None] == row, np.float32(value), array)


def write_gz(part: str, change: Callable[[bytes], bytes]) -> Callable[[str], None]:
    """Change the bytes of a compressed array."""

    def spoil(name: str) -> None:
        path = folders.current.augmented(part, name)
        path.write_bytes(change(path.read_bytes()))

    return spoil


def bomb(shape: tuple[int, ...], num_zeros: int = 0) -> bytes:
    """Return a compressed array whose header promises float32 of a shape, followed by so many zeros."""
    return gzip.compress(npy_header(shape) + bytes(num_zeros))


SHAPE = r"expected floats \({rows}, 37\), got {got}; delete it and run"
WRONG_ROWS = [
    ("valid", lambda p: p[:-1], SHAPE.format(rows=3, got=r"float32 \(2, 37\)")),
    ("valid", lambda p: p[:, :36], SHAPE.format(rows=3, got=r"float32 \(3, 36\)")),
    ("valid", lambda p: p.ravel(), SHAPE.format(rows=3, got=r"float32 \(111,\)")),
    ("test", lambda p: p[:-1], SHAPE.format(rows=8, got=r"float32 \(7, 37\)")),
    ("test", lambda p: p.astype(int), SHAPE.format(rows=8, got=r"int64 \(8, 37\)")),
]
# The part whose file is spoilt, how, and what is said of it.
PREDICTIONS = {
    "wrong number of rows in predictions": [(*case[:1], spoil_predictions(*case[:2]), case[2]) for case in WRONG_ROWS],
    "NaN in predictions": [
        ("valid", spoil_predictions("valid", with_nan(np.nan, 2)), "NaN or infinity in row 2; train the model again"),
        ("test", spoil_predictions("test", with_nan(np.inf, 5)), "NaN or infinity in row 5; train the model again"),
    ],
    "test predictions without validation file": [
        (
            "valid",
            lambda name: folders.current.augmented("valid", name).unlink(),
            r"is missing, but .* exists; run the predict_augmented_npy script of",
        )
    ],
    "array that is damaged or too large": [
        ("test", write_gz("test", lambda data: data[: len(data) // 2]), "is not a NumPy array .*; run the predict"),
        ("test", write_gz("test", lambda data: data[:-8] + bytes(4) + data[-4:]), "CRC check failed"),
        ("test", write_gz("test", lambda data: b"no gzip"), "is not a NumPy array .*; run the predict"),
        ("test", write_gz("test", lambda data: b""), "is not a NumPy array .*; run the predict"),
        ("test", write_gz("test", lambda data: gzip.compress(b"no array")), "is not a NumPy array .*; run the predict"),
        ("test", write_gz("test", lambda data: bomb((10**9, 37))), r"got float32 \(1000000000, 37\); delete it"),
        ("test", write_gz("test", lambda data: bomb((8, 37))), "ends 1184 bytes early"),
        ("test", write_gz("test", lambda data: bomb((8, 37), 10**7)), "more bytes than the array has"),
        (
            "test",
            write_gz("test", lambda data: gzip.compress(pickle.dumps(1))),
            "is not a NumPy array .*; run the predict",
        ),
    ],
}


@pytest.mark.parametrize(("part", "spoil", "complaint"), cases_of(PREDICTIONS))
def test_bad_predictions(prepared_survey: Survey, run_main, part: str, spoil, complaint: str):
    names = write_models(prepared_survey, 2)
    run_main(ensemble_predictions_npy, "--root", prepared_survey.root)
    use_folders(prepared_survey.root)
    spoil(names[1])
    line = refused(run_main, prepared_survey.root, ensemble_predictions_npy)
    assert re.search(complaint, line)
    assert f"{part}/{names[1]}.npy.gz" in line


@pytest.mark.parametrize("change", [lambda p: p[:-1], with_nan(np.nan, 1)])
def test_bad_predictions_are_not_shown(prepared_survey: Survey, run_main, change):
    (name,) = write_models(prepared_survey, 1)
    spoil_predictions("valid", change)(name)
    assert re.search("expected (floats|finite numbers)", refused(run_main, prepared_survey.root, show_results))


SUBMISSIONS = {
    "predictions that make no submission": [
        (lambda p: p[:-1], r"expected floats \(8, 37\), got float32 \(7, 37\)"),
        (lambda p: p[:, :-1], r"expected floats \(8, 37\), got float32 \(8, 36\)"),
        (lambda p: p.ravel(), r"got float32 \(296,\)"),
        (with_nan(np.nan, 3), "NaN for GalaxyID 205; train the model again"),
        (lambda p: p + np.float32(0.5), r"within \[0, 1\], got 0 to 1\.[0-9]+; predict again"),
        (lambda p: p - np.float32(0.25), r"within \[0, 1\], got -0\.25 to"),
        (with_nan(np.inf, 3), "to inf"),
    ]
}


@pytest.mark.parametrize(("change", "complaint"), cases_of(SUBMISSIONS))
def test_predictions_that_make_no_submission(prepared_survey: Survey, run_main, change, complaint: str):
    (name,) = write_models(prepared_survey, 1)
    path = folders.current.augmented("test", name)
    run_main(create_submission_from_npy, "--root", prepared_survey.root, path)
    use_folders(prepared_survey.root)
    spoil_predictions("test", change)(name)
    assert re.search(complaint, refused(run_main, prepared_survey.root, create_submission_from_npy, path))


def test_the_page_has_a_row_for_each_test():
    accepted = "table with columns in another order, or more of them"
    assert rows_of_page("Ids and labels") == {*IDS_AND_LABELS, accepted}
    assert rows_of_page("Predictions and other files") == {*PREDICTIONS, *SUBMISSIONS, *PICKLES}
    page = (ROOT / "doc" / "bad_data.md").read_text()
    tested = {"Images", "Ids and labels", "Predictions and other files", "Folders and writing"}
    tested.add("Downloads and own galaxies")  # in test_prepare_data.py
    tested.add("Catalogues of own images and fields")  # in test_bad_catalogues.py
    tested.add("Runs")  # owners of shared files, in tests/machine/test_locks.py and test_decoded_cache.py
    headings = set(re.findall(r"^## (.*)$", page, re.MULTILINE))
    assert tested <= headings
    assert not any(rows_of_page(other) for other in headings - tested)
