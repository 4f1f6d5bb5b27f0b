"""A trained model becomes a file with cards, for predict_galaxies.py."""

import json
import re
import sys
from pathlib import Path

import exported
import numpy as np
import onnx
import other_family
import pytest
from tiny import TINY

import export_model
from catalogue import card as cards
from catalogue import framing
from catalogue.model_file import Model
from engine.experiment import Experiment
from galaxy.image_files import read
from machine import onnx_runtime
from machine.arrays import save_gz
from survey.folders import use_folders
from survey.folds import Fold, predicted, product


def export(monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: object, experiment: Experiment = TINY) -> None:
    monkeypatch.setattr(export_model, "find_experiment", lambda name: experiment)
    monkeypatch.setattr(sys, "argv", ["export_model.py", "tiny", "--root", str(root), *map(str, arguments)])
    try:
        export_model.main()
    finally:
        use_folders(".")


def test_cards_tell_what_the_model_is(tmp_path: Path):
    path = exported.tiny_model()
    model = Model(path)
    assert model.card.num_averaged == len(TINY.test_transforms)
    beside = json.loads(path.with_suffix(".json").read_text())
    assert beside["sha256"] == model.sha256 and beside["facts"]["numbers"]["opset"] == 18
    page = path.with_suffix(".md").read_text()
    assert page.startswith("# tiny\n") and model.sha256 in page and "validation RMSE" in page
    assert 50 < model.card.framing_radius < 500
    assert len(model.card.distances) == cards.DISTANCE_LEVELS and (np.diff(model.card.distances) >= 0).all()


def test_a_model_of_all_galaxies_is_calibrated_by_its_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    exported.write_survey(tmp_path, 40)
    use_folders(tmp_path)
    exported.write_tiny_analysis("tiny")
    exported.write_tiny_analysis("tiny_all_galaxies", seed=5)
    output, facts = tmp_path / "all.onnx", tmp_path / "facts.json"
    facts.write_text('{"read this first": "it learnt from blobs", "licence": "none"}')
    export(
        monkeypatch, tmp_path, "--all-galaxies", "--weights", "float16", "--output", output, "--num-workers", 1,
        "--facts", facts,
    )  # fmt: skip
    model = Model(output)
    assert model.name == "tiny_all_galaxies"
    assert model.card.facts["read this first"] == "it learnt from blobs"
    assert model.card.facts["numbers"]["training galaxies"] == 40
    assert output.stat().st_size < exported.tiny_model().stat().st_size
    page = output.with_suffix(".md").read_text().splitlines()
    assert page[2:5] == ["Read this first: it learnt from blobs", "", "Licence: none"]
    assert page.count("Licence: none") == 1 and "SDSS" in model.card.facts["credits"]


def test_a_student_is_calibrated_by_the_folds_of_its_teachers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    labels = exported.write_survey(tmp_path, 40)
    use_folders(tmp_path)
    exported.write_tiny_analysis("tiny_all_galaxies")
    output = tmp_path / "student.onnx"
    flags = ("--all-galaxies", "--calibrate-with", "teacher", "--output", output, "--num-workers", 1)
    with pytest.raises(SystemExit, match="expected predictions of all folds of teacher"):
        export(monkeypatch, tmp_path, *flags)
    use_folders(tmp_path)
    rng = np.random.default_rng(0)
    errors = rng.uniform(0, 0.1, labels.shape) * np.where(labels > 0.5, -1, 1)  # all stay fractions
    for fold in (Fold(1, 2), Fold(2, 2)):
        rows = predicted(fold)
        for subset, values in (("train", (labels + errors)[rows]), ("test", labels[:1])):
            path = product(subset, f"teacher{fold.suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_gz(path, values.astype(np.float32))
    export(monkeypatch, tmp_path, *flags)
    [rmse] = re.findall(r"calibrated on 40 galaxies, RMSE ([\d.]+)", capsys.readouterr().out)
    assert float(rmse) == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-3)
    made = Model(output).card
    assert made.facts["numbers"]["validation galaxies"] == 40
    quantiles = made.weighted.offsets[:, 0]  # of residuals between -0.1 and 0.1
    assert (np.abs(quantiles) <= 0.1).all() and (np.ptp(quantiles, axis=1) > 0.05).all()


def test_a_graph_that_predicts_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    exported.write_survey(tmp_path, 20)
    use_folders(tmp_path)
    exported.write_tiny_analysis("tiny")
    graph = onnx.load(exported.other_model())
    monkeypatch.setattr(export_model.export, "to_onnx", lambda *_: graph)
    with pytest.raises(SystemExit) as ended:
        export(monkeypatch, tmp_path, "--num-workers", 1)
    assert "the exported network's predictions are" in ended.value.code
    assert not list(tmp_path.glob("models/*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output", "a.pt"], "expected an --output that ends with .onnx"),
        ([], "run tiny.py"),
        (["--facts", "no.json"], "no.json is missing; name another file with --facts"),
        (["--facts", __file__], "--facts"),
    ],
)
def test_what_can_not_be_exported_ends_in_one_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    exported.write_survey(tmp_path, 10)
    with pytest.raises(SystemExit) as ended:
        export(monkeypatch, tmp_path, "--num-workers", 1, *arguments)
    assert says in ended.value.code and "\n" not in ended.value.code


@pytest.mark.parametrize("name", ["os", "try_nothing", "../x", "load_data", "engine.training"])
def test_only_scripts_that_declare_a_model_have_one(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["export_model.py", name])
    with pytest.raises(SystemExit) as ended:
        export_model.main()
    assert "expected the name of a try_*.py script" in ended.value.code


def test_a_model_in_whole_numbers_answers_the_same_on_any_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    exported.write_survey(tmp_path, 40)
    use_folders(tmp_path)
    exported.write_tiny_analysis(other_family.EXPERIMENT.name, experiment=other_family.EXPERIMENT)
    predictions, frames = [], []
    for weights in ("float32", "int8"):
        output = tmp_path / f"{weights}.onnx"
        export(
            monkeypatch, tmp_path, "--weights", weights, "--output", output, "--num-workers", 1,
            experiment=other_family.EXPERIMENT,
        )  # fmt: skip
        model = Model(output)
        assert model.card.facts["numbers"]["weights"] == weights
        paths = sorted(tmp_path.glob("data/raw/*train*/*.jpg"))[:5]
        frames = [framing.frame(read(path), "sdss", model.card.framing_radius) for path in paths]
        predictions.append(model.predict(frames).predictions)
    exact, here = predictions
    is_exact_here = onnx_runtime.is_exact()
    monkeypatch.setattr(onnx_runtime, "is_exact", lambda: False)
    elsewhere = Model(tmp_path / "int8.onnx").predict(frames).predictions
    assert 0 < np.abs(here - exact).max() < 0.05
    np.testing.assert_allclose(elsewhere, here, atol=0.01)
    assert (elsewhere != here).any() == is_exact_here
