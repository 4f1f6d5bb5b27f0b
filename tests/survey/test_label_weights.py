"""Weights of training galaxies: from tables of both layouts to the array, and back into the error."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CPU, OPTIONS, TINY, assert_same_result, refused, run, write_jpeg

import prepare_data
from engine import training
from engine.examples import Examples
from engine.network import Network
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import save_array
from machine.files import DataError
from survey import folders, label_weights
from tried.layers import OutputLayer


def weights_of(num: int) -> np.ndarray:
    return np.where(np.arange(num) % 3, 1.0, 0.25)


def add_column(path: Path, cells: list[object], name: str = "weight") -> None:
    """Append a column to a CSV table."""
    header, *rows = path.read_text().splitlines()
    lines = [f"{header},{name}", *(f"{row},{cell}" for row, cell in zip(rows, cells, strict=True))]
    path.write_text("\n".join(lines) + "\n")


class TestPreparation:
    def test_a_column_of_kaggle_s_table_becomes_an_array(self, survey, run_main, capsys):
        weights = weights_of(30)
        add_column(survey.csv, weights.tolist())
        run_main(prepare_data, "--root", survey.root)
        np.testing.assert_array_equal(label_weights.load(), weights.astype(np.float32))
        assert "wrote the weights of 30 galaxies" in capsys.readouterr().out

    def test_a_column_of_an_own_table_follows_its_galaxies(self, survey, run_main, tmp_path):
        rng = np.random.default_rng(1)
        names = [f"galaxy-{index}" for index in rng.permutation(12)]
        for name in names:
            write_jpeg(tmp_path / "images" / f"{name}.jpg", rng.integers(0, 255, (424, 424, 3)).astype(np.uint8))
        rows = [[name, *survey.labels[index]] for index, name in enumerate(names)]
        table = tmp_path / "votes.csv"
        table.write_text("\n".join(",".join(map(str, row)) for row in [["name", *GALAXY_ZOO_2.columns], *rows]) + "\n")
        add_column(table, [0.5 + index for index in range(12)], "Weight")
        flags = ("--root", tmp_path / "own", "--images", tmp_path / "images", "--labels", table, "--num-workers", 1)
        run_main(prepare_data, *flags)
        folders.use_folders(tmp_path / "own")
        lines = (tmp_path / "own" / "data" / "own_ids.csv").read_text().splitlines()[1:]
        by_id = {int(line.split(",")[0]): line.split(",")[1] for line in lines}
        ids = np.load(tmp_path / "own" / "data" / "train_ids.npy")
        assert label_weights.load().tolist() == [0.5 + names.index(by_id[id]) for id in ids.tolist()]

    @pytest.mark.parametrize("cell", ["", "x", -1, "inf"])
    def test_a_cell_that_is_no_weight_is_named(self, survey, run_main, cell):
        add_column(survey.csv, [1] * 29 + [cell])
        with pytest.raises(DataError, match=f"expected weights of at least 0, got .* for '{survey.train_ids[-1]}'"):
            run_main(prepare_data, "--root", survey.root)

    def test_two_columns_are_refused(self, survey, run_main):
        add_column(survey.csv, [1] * 30)
        add_column(survey.csv, [1] * 30, "WEIGHT")
        with pytest.raises(DataError, match="expected one column 'weight', got weight and WEIGHT"):
            run_main(prepare_data, "--root", survey.root)

    def test_an_array_that_no_table_has_is_not_used_silently(self, prepared_survey, run_main):
        save_array(label_weights.weights_npy(), np.ones(30))
        with pytest.raises(DataError, match="has no column 'weight'; delete the file"):
            run_main(prepare_data, "--root", prepared_survey.root)


def put(weights: np.ndarray) -> None:
    save_array(label_weights.weights_npy(), weights)


class TestError:
    def test_it_is_the_weighted_mean_square(self, prepared_survey):
        put(weights_of(30))
        indices = np.arange(27)
        targets = Examples(TINY, OPTIONS, CPU).targets(indices)
        assert targets.shape == (30, 38) and targets[indices, 37].mean() == pytest.approx(1)
        network = Network(TINY, CPU)
        views = [torch.rand(27, *shape) for shape in TINY.views.shapes]
        with torch.no_grad():
            network.output_of = lambda layer, inputs, dropout_active: torch.linspace(-1, 1, 27 * 37).view(27, 37)
            error = network.error(views, torch.from_numpy(targets[indices]), True).item()
            predictions = network.output_layer(network.output_of(None, None, None)).numpy()
        squares = np.square(predictions - prepared_survey.labels[indices]).mean(axis=1)
        weights = weights_of(30)[indices]
        assert error == pytest.approx((weights * squares).sum() / weights.sum(), rel=1e-5)

    def test_equal_weights_are_the_run_without_them_to_the_bit(self, prepared_survey, run_main):
        plain = run(run_main, prepared_survey)
        put(np.full(30, 3.0))
        same = run(run_main, prepared_survey)
        assert_same_result(same, plain)

    def test_a_weighted_run_is_recorded_and_refuses_other_weights(self, prepared_survey, run_main, capsys):
        put(weights_of(30))
        run(run_main, prepared_survey)
        assert "the training error is weighted: 0.3" in (out := capsys.readouterr().out)
        assert "the validation RMSE is not weighted" in out
        record = json.loads(folders.current.analysis("tiny").with_suffix(".json").read_text())
        assert record["weights"]["file"] == str(label_weights.weights_npy()) and len(record["weights"]["sha256"]) == 64
        prepared = training.Run.prepare(TINY, OPTIONS)
        prepared.save()
        put(weights_of(30)[::-1])
        with pytest.raises(DataError, match="weights: "):
            training.Run.prepare(TINY, OPTIONS)

    @pytest.mark.parametrize(
        ("weights", "says"),
        [
            (np.ones(29), r"expected floats \(30,\), got"),
            (np.ones(30, int), "expected floats"),
            (np.full(30, np.nan), "expected weights of at least 0"),
            (np.linspace(-1, 1, 30), "expected weights of at least 0"),
            (np.zeros(30), "expected a weight above 0"),
        ],
    )
    def test_damage_ends_a_run_in_one_line(self, prepared_survey, run_main, weights, says):
        put(weights)
        script = type("Script", (), {"__name__": "tiny", "main": staticmethod(lambda: training.main(TINY))})
        line = refused(run_main, prepared_survey.root, script, "--device", "cpu", "--num-workers", 1)
        assert np.any([part in line for part in (says, says.replace("\\", ""))])

    def test_an_error_that_takes_no_weights_says_so(self, prepared_survey):
        def build(batch_size: int):
            inputs, output = TINY.build_network(batch_size)
            return inputs, OutputLayer(output.input_layer)

        put(weights_of(30))
        with pytest.raises(DataError, match=r"but OutputLayer\.error_of takes none"):
            training.Run.prepare(dataclasses.replace(TINY, build_network=build), OPTIONS)
