"""The page of a training root: scores, best and worst galaxies, run records, malformed ones included."""

import subprocess
import sys
from collections.abc import Callable

import made_pages
import numpy as np
import pytest
from tiny import ROOT, Survey, refused

import show_results
from report import figures, page, training_page
from report.page import Facts, Gallery, Page, Table
from survey import folders, images
from survey.predictions import load_predictions, rmse


@pytest.fixture
def drawn(prepared_survey: Survey) -> Survey:
    """Return a survey with predictions of two models and their records."""
    made_pages.write_results(folders.current)
    return prepared_survey


@pytest.fixture
def trained(drawn: Survey, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """Return the same survey, with figures replaced by empty ones, which take no time."""

    def on_both(draw: Callable, size: tuple, grid: tuple, **words: str) -> page.Figure:
        return page.Figure(b"<svg/>", b"<svg/>", **words)

    monkeypatch.setattr(figures, "on_both", on_both)
    return drawn


def part(of: Page, key: str, kind: type) -> object:
    [found] = [each for section in (*of.before, *of.after) if section.key == key for each in section.parts]
    assert isinstance(found, kind)
    return found


def test_scores_equal_those_of_show_results(drawn: Survey, run_main: Callable, capsys: pytest.CaptureFixture):
    path = drawn.root / "pages" / "report.html"
    run_main(show_results, "--root", drawn.root, "--report", path)
    printed = capsys.readouterr().out
    assert f"report: {path}" in printed and path.read_text().startswith("<!doctype html>")
    rows = part(training_page.build(folders.current), "scores", Table).rows
    assert [row[0] for row in rows[:3]] == ["mean votes of the training galaxies", "try_a", "try_b"]
    for name, value, *_ in rows[:3]:
        assert f"{value:.6f}" in next(line for line in printed.splitlines() if line.startswith(name))
    crossed = [cell for _, _, cell in rows[3:]]
    assert len(rows) == 7 and crossed == sorted(crossed) and all(0 < value < 1 for value in crossed)
    caption = part(training_page.build(folders.current), "scores", Table).caption
    assert caption.endswith(f"Best blend by the cross-validated error: {rows[3][0]}")


def test_best_and_worst_galaxies_have_the_smallest_and_largest_error(trained: Survey):
    built = training_page.build(folders.current)
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    predictions = load_predictions(folders.current, "valid", "try_a", len(valid))
    errors = [rmse(a[None], b[None]) for a, b in zip(predictions, labels[valid], strict=True)]
    assert built.galaxies.names == [str(id) for id in images.ids_of("train")[valid]]
    np.testing.assert_allclose(built.galaxies.columns[0].values, errors, atol=1e-6)
    assert part(built, "best", Gallery).rows == [int(np.argmin(errors))]  # of three validation galaxies
    assert part(built, "worst", Gallery).rows == [int(np.argmax(errors))]
    np.testing.assert_allclose(built.galaxies.others, labels[valid])


def test_calibration_and_residuals_are_those_of_the_best_model(trained: Survey):
    rows = part(training_page.build(folders.current), "answers", Table).rows
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    off = load_predictions(folders.current, "valid", "try_a", len(valid)) - labels[valid]
    np.testing.assert_allclose([row[3] for row in rows], off.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose([row[4] for row in rows], np.sqrt((off**2).mean(axis=0)), atol=1e-6)
    assert rows[0][0] == "Class1.1 smooth"


def test_a_page_of_one_model_has_no_blends(trained: Survey):
    folders.current.augmented("valid", "try_b").unlink()
    built = training_page.build(folders.current)
    assert len(part(built, "scores", Table).rows) == 2
    assert "1 model." in built.lead


def test_run_records_are_shown_as_pairs(trained: Survey):
    facts = dict(part(training_page.build(folders.current), "record0", Facts).rows)
    assert facts["trained for"] == "01:02:05"
    assert facts["experiment network 1 class"] == "<b>Dense</b>" and facts["experiment network 1 shape"] == "[3, 4]"
    assert not any(name.startswith("losses") for name in facts)


@pytest.mark.parametrize(
    "record",
    [None, "{", "[]", "3", '{"losses_train": 3}', '{"losses_valid": {"a": 1}}', '{"losses_train": [[1]]}', "{" * 3000],
)
def test_unreadable_records_leave_the_rest_of_the_page(trained: Survey, record: str | None):
    for name in ("try_a", "try_b"):
        path = folders.current.analysis(name).with_suffix(".json")
        path.unlink() if record is None else path.write_text(record)
    built = training_page.build(folders.current)
    assert "learning" not in [section.key for section in built.before]
    page.render(built)


def test_a_galaxy_without_image_stays_listed(trained: Survey):
    for path in (trained.raw / "images_train_rev1").iterdir():
        path.unlink()
    assert training_page.build(folders.current).galaxies.pictures == [None] * 3


def test_long_values_are_cut_and_deep_ones_become_json():
    deep: object = 1
    for _ in range(50):
        deep = {"a": deep}
    [(name, text)] = training_page.flat(deep)
    assert name == "a a a a a" and text.startswith('{"a": {"a": ')
    assert len(training_page.flat({"b": "x" * 999})[0][1]) == 300


def test_a_wrong_file_name_is_refused_at_once(trained: Survey, run_main: Callable):
    assert "expected a --report that ends with .html" in refused(
        run_main, trained.root, show_results, "--report", trained.root / "a.txt"
    )
    assert "expected --norms or --report, got both" in refused(
        run_main, trained.root, show_results, "--norms", "--report", trained.root / "a.html"
    )


def test_the_page_of_a_training_root_needs_neither_torch_nor_libraries_of_catalogues():
    unneeded = {"torch", "pyarrow", "onnxruntime"}
    code = f"import sys, show_results, report.training_page; print(sys.modules.keys() & {unneeded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
