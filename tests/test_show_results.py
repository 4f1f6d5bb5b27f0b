"""Norms of trained models' weights; scores and the picture of predictions are tested where predictions are made."""

import dataclasses
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY, files_of, refused, run

import show_results
from engine.experiment import NormConstraint
from machine.files import DataError
from survey import folders

LIMITED = dataclasses.replace(TINY, norm_constraint=NormConstraint(every=1, limits=(0.1,)))


def rows_of(printed: str) -> list[list[str]]:
    """Return the cells of the rows of all tables."""
    return [line.split() for line in printed.splitlines() if re.match(r" +\d+ +\d+ ", line)]


def write_pickle(name: str, values: object) -> None:
    """Write an analysis pickle without a record, as those of 2014."""
    path = folders.current.analysis(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"param_values": values}, protocol=2))


def test_norms_are_those_of_the_dense_layers_from_the_bottom_up(prepared_survey, run_main, capsys):
    analysis = run(run_main, prepared_survey, experiment=LIMITED)
    capsys.readouterr()
    run_main(show_results, "--root", prepared_survey.root, "--norms")
    printed = capsys.readouterr().out
    assert printed.startswith("tiny\n")
    matrices = [values for values in analysis["param_values"] if values.ndim == 2][::-1]
    first, second = rows_of(printed)
    for cells, matrix in zip((first, second), matrices, strict=True):
        norms = sorted(sum(float(value) ** 2 for value in column) ** 0.5 for column in matrix.T)
        assert [int(cell) for cell in cells[1:3]] == [len(matrix), len(norms)]
        assert float(cells[3]) == pytest.approx(norms[0], abs=1e-4)
        assert float(cells[5]) == pytest.approx(np.median(norms), abs=1e-4)
        assert float(cells[7]) == pytest.approx(norms[-1], abs=1e-4)
        assert norms[0] <= float(cells[4]) <= float(cells[6]) <= norms[-1] + 1e-4
    assert first[8:] == ["0.1", "0", "(0.0%)"]  # it was limited after each step
    assert float(first[7]) == pytest.approx(0.1, abs=1e-3)
    assert second[8:] == []
    picture = prepared_survey.root / "predictions" / "final" / "norms.png"
    assert f"histograms: {picture}" in printed
    with Image.open(picture) as image:
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 5


def test_what_exceeds_a_limit_is_counted_but_not_rounding():
    values = np.array([0.2, 0.4, 0.4 * (1 + 1e-6), 0.41, 0.5])
    assert show_results.Norms(9, values, 0.4).num_over == 2
    assert show_results.Norms(9, values, None).num_over == 0
    assert show_results.Norms(9, values, 0.4).row(1).endswith("0.4  2 (40.0%)")


@pytest.mark.parametrize("record", [None, "{", "[]", json.dumps({"experiment": {"network": 3}})])
def test_a_pickle_of_2014_has_no_record_and_all_its_matrices_are_told(survey, run_main, capsys, record):
    arrays = [
        np.ones((4, 3)),
        np.zeros(3),
        np.full((9, 4), 2.0),
        np.zeros(4),
        np.ones((3, 6, 6, 2)),
        np.ones((2, 5, 5)),
    ]
    write_pickle("old", arrays)
    write_pickle("other", arrays)
    if record is not None:
        folders.current.analysis("old").with_suffix(".json").write_text(record)
    output = survey.root / "picture.png"
    run_main(show_results, "--root", survey.root, "--norms", "old.py", "--output", output)
    first, second = rows_of(capsys.readouterr().out)
    assert first[1:] == ["9", "4", *["6.0000"] * 5]
    assert second[1:] == ["4", "3", *["2.0000"] * 5]
    assert output.is_file()


def test_only_dense_layers_are_told_where_the_record_says_which_they_are(survey):
    write_pickle("new", [np.ones((4, 3)), np.zeros(3), np.ones((7, 7)), np.zeros(7)])
    network = [
        {"class": "OutputLayer"},
        {"class": "DenseLayer", "parameters": [[4, 3], [3]]},
        {"class": "ModuleLayer", "parameters": [[7, 7], [7]]},
    ]
    path = folders.current.analysis("new").with_suffix(".json")
    path.write_text(json.dumps({"experiment": {"network": network, "norm_constraint": None}}))
    [norms] = show_results.read_norms(folders.current, "new")
    assert (norms.inputs, norms.limit) == (4, None)


def test_without_trained_models_norms_say_what_to_do(survey, run_main):
    assert "run a try_*.py script first" in refused(run_main, survey.root, show_results, "--norms")
    assert "missing.pkl is missing; run missing.py first" in refused(
        run_main, survey.root, show_results, "--norms", "missing"
    )


@pytest.mark.parametrize("values", [None, 3, [1, 2], [np.full((2, 2), np.nan)], [np.empty((2, 0))]])
def test_a_pickle_without_parameters_is_refused(survey, values):
    write_pickle("odd", values)
    with pytest.raises(DataError, match=r"odd\.pkl: expected "):
        show_results.read_norms(folders.current, "odd")


def test_a_model_without_dense_layers_draws_nothing(survey, run_main, capsys):
    write_pickle("empty", [np.ones((3, 6, 6, 2))])
    before = files_of(survey.root)
    run_main(show_results, "--root", survey.root, "--norms", "empty")
    assert rows_of(capsys.readouterr().out) == []
    assert files_of(survey.root) == before


def test_norms_do_without_torch():
    code = "import sys, show_results; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
