"""What an ensemble came to is told model by model and blend by blend."""

import numpy as np
import pytest
from tiny import Survey, write_models

from benchmarks import ensemble_results
from engine import record
from machine.files import DataError
from survey import folders, images
from survey.predictions import load_predictions, rmse


@pytest.fixture
def models(prepared_survey: Survey) -> list[str]:
    """Return three models, the last of which counts as one of today, with predictions and the cost of one."""
    names = write_models(prepared_survey, 3)
    for part in ("valid", "test"):
        path = folders.current.augmented(part, names[2])
        path.rename(path.with_name(f"{ensemble_results.OF_TODAY}c.npy.gz"))
    names[2] = f"{ensemble_results.OF_TODAY}c"
    _, valid = images.split(len(images.load_labels()))
    for name in names:
        single = load_predictions(folders.current, "valid", name, len(valid))
        record.save_analysis(folders.current.analysis(name), {"predictions": np.sqrt(single)}, {})
    costs = prepared_survey.root / "analysis" / "costs"
    costs.mkdir()
    (costs / f"train_{names[0]}.tsv").write_text("s\tmax_pss\tcpu_time\n1.0\t2100.4\t330.0\n")
    for shard in (1, 2):
        (costs / f"predict_{names[0]}.{shard}of2.tsv").write_text(f"s\tmax_pss\tcpu_time\n1.0\t900\t{60 * shard}\n")
    return names


def test_each_model_and_blend_has_its_row(prepared_survey: Survey, tables, models, run_main, tmp_path, capsys):
    run_main(ensemble_results, "--root", prepared_survey.root, *tables, "--output", tmp_path / "out")
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    for name in models:
        [row] = [row for row in rows if row[0] == ensemble_results.short(name)]
        of_model = load_predictions(folders.current, "valid", name, len(valid))
        assert row[3] == f"{rmse(of_model, labels[valid]):.4f}" and row[1] != row[3]
        assert row[5:] == (["5.5", "2.1 GB", "3.0"] if name == models[0] else ["-", "-", "-"])
    blends = [row[:2] for row in rows if row[0].startswith(("the ", "all "))]
    assert len(blends) == 8 and ["the 2 of 2014", "weighted"] in blends and ["all 3", "uniform"] in blends
    assert "weights of all 3: " in out and (tmp_path / "out" / "ensemble.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "is missing"),
        ("GalaxyID,kind\n1,smooth\n", "not a readable csv table"),
        ("GalaxyID,class\none,smooth\n", "expected a class for each galaxy, got none for"),
    ],
)
def test_a_table_without_classes_is_refused(prepared_survey: Survey, tmp_path, table, message):
    path = tmp_path / "classes.csv"
    if table is not None:
        path.write_text(table)
    with pytest.raises(DataError, match=message):
        ensemble_results.load_classes(path, images.load_ids("train"))
