"""The script that blends: its files, its table, models left out, twins, and wrong or missing files."""

import csv
import gzip
import io
import itertools

import numpy as np
import pytest
from tiny import STEMS, Survey, draw_labels, write_models

import create_submission_from_npy
import ensemble_predictions_npy as ensemble
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_gz, save_gz
from machine.files import DataError
from survey import blending, folders, images
from survey.folders import use_folders
from survey.predictions import rmse


def predictions_of(part: str, names: list[str]) -> np.ndarray:
    return np.stack([load_gz(folders.current.augmented(part, name)) for name in names]).astype(np.float64)


def blended_files() -> dict[str, np.ndarray]:
    return {stem: load_gz(folders.current.predictions / "blended" / f"{stem}.npy.gz") for stem in STEMS}


def table_of(out: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in out.splitlines()}


@pytest.mark.parametrize("obey_tree", [False, True])
def test_blends_of_files(prepared_survey: Survey, run_main, capsys, obey_tree: bool):
    names = write_models(prepared_survey, 3)
    run_main(ensemble, "--root", prepared_survey.root, *(["--obey-tree"] if obey_tree else []))
    use_folders(prepared_survey.root)
    lines = table_of(capsys.readouterr().out)

    labels = images.load_labels()
    _, valid = images.split(len(labels))
    predictions = predictions_of("valid", names)
    errors = [np.sqrt(((each - labels[valid]) ** 2).mean()) for each in predictions]
    assert [float(lines[name][0]) for name in names] == pytest.approx(errors, abs=1e-6)
    weights = np.array([float(lines[name][1]) for name in names])
    assert weights.sum() == pytest.approx(1, abs=2e-4)

    blends = blending.fit_blends(blending.residual_grams(predictions - labels[valid]), GALAXY_ZOO_2)
    assert list(blends) == list(STEMS)
    np.testing.assert_allclose(blends["blended_predictions"][0], weights, atol=1e-4)
    crossed = blending.cross_predict(predictions, labels[valid], GALAXY_ZOO_2)
    test = predictions_of("test", names)
    for stem, array in blended_files().items():
        plain = [blending.blend(blends[stem], predictions), crossed[stem]]
        both = [*plain, *map(GALAXY_ZOO_2.obey, plain)]
        assert [float(cell) for cell in lines[stem]] == pytest.approx(
            [rmse(blend, labels[valid]) for blend in both], abs=1e-6
        )
        assert array.dtype == np.float32
        expected = blending.blend(blends[stem], test)
        np.testing.assert_allclose(array, GALAXY_ZOO_2.obey(expected) if obey_tree else expected, atol=1e-6)
        totals, wanted = GALAXY_ZOO_2.question_totals(array)
        assert (np.abs(totals - wanted).max() < 1e-6) == obey_tree


@pytest.mark.parametrize("obey_tree", [False, True])
def test_the_best_blend_is_named_with_its_cross_validated_error(
    prepared_survey: Survey, run_main, capsys, obey_tree: bool
):
    write_models(prepared_survey, 3)
    run_main(ensemble, "--root", prepared_survey.root, *(["--obey-tree"] if obey_tree else []))
    out = capsys.readouterr().out
    lines = table_of(out)
    scores = {stem: float(lines[stem][3 if obey_tree else 1]) for stem in STEMS}
    best = min(scores, key=scores.__getitem__)
    name, reason = (folders.current.predictions / "blended" / "best.txt").read_text().rstrip().split(" ", 1)
    assert name == f"{best}.npy.gz"
    assert reason == (
        f"cross-validated RMSE {scores[best]:.6f}, uniform blend {scores['blended_predictions_uniform']:.6f}"
    )
    assert f"{name} ({reason})" in out.splitlines()[-1]


def test_the_uniform_blend_is_the_mean_although_a_model_lost_a_question(prepared_survey: Survey, run_main, capsys):
    survey = prepared_survey
    names = write_models(survey, 2)
    for part, name in itertools.product(("valid", "test"), names):
        path = folders.current.augmented(part, name)
        predictions = GALAXY_ZOO_2.obey(load_gz(path) + 0.01)
        if name == names[1]:
            predictions[:, GALAXY_ZOO_2.slices[3]] = 0
        save_gz(path, predictions.astype(np.float32))
    run_main(ensemble, "--root", survey.root)
    notes = [line for line in capsys.readouterr().out.splitlines() if " lost " in line]
    assert notes == [
        "questions lost by try_model_b (all answers are zero), of 8 test galaxies: 3 (all); "
        "--exclude the model, or restore the sums of the blends with --obey-tree"
    ]

    use_folders(survey.root)
    mean = predictions_of("test", names).mean(axis=0)
    np.testing.assert_allclose(blended_files()["blended_predictions_uniform"], mean, rtol=0, atol=1e-7)
    path = folders.current.predictions / "blended" / "blended_predictions_uniform.npy.gz"
    run_main(create_submission_from_npy, "--root", survey.root, path)
    # What Python's csv module writes, as the script of 2014 did: the header, then the id and 37 numbers of each galaxy.
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["GalaxyID", *GALAXY_ZOO_2.columns])
    writer.writerows([id, *row] for id, row in zip(survey.test_ids, mean.tolist(), strict=True))
    expected = list(csv.reader(io.StringIO(buffer.getvalue())))
    with gzip.open(path.with_name("blended_predictions_uniform.csv.gz"), "rt", newline="") as file:
        written = list(csv.reader(file))
    assert written[0] == expected[0]
    assert [row[0] for row in written] == [row[0] for row in expected]
    numbers = [np.array([row[1:] for row in table[1:]], np.float64) for table in (written, expected)]
    np.testing.assert_allclose(*numbers, rtol=0, atol=1e-7)

    run_main(ensemble, "--root", survey.root, "--obey-tree")
    use_folders(survey.root)
    restored = blended_files()["blended_predictions_uniform"]
    np.testing.assert_allclose(restored, GALAXY_ZOO_2.obey(mean), atol=1e-6)
    assert np.abs(restored - mean).max() > 0.01


def test_one_model_blends_to_itself(prepared_survey: Survey, run_main):
    (name,) = write_models(prepared_survey, 1)
    run_main(ensemble, "--root", prepared_survey.root)
    use_folders(prepared_survey.root)
    for blended in blended_files().values():
        np.testing.assert_array_equal(blended, load_gz(folders.current.augmented("test", name)))


def test_only_models_with_test_predictions_count(prepared_survey: Survey, run_main, capsys):
    names = write_models(prepared_survey, 3)
    folders.current.augmented("test", names[1]).unlink()
    run_main(ensemble, "--root", prepared_survey.root)
    out = capsys.readouterr().out
    assert names[0] in out and names[1] not in out and names[2] in out


def test_a_model_is_left_out_by_name(prepared_survey: Survey, run_main, capsys):
    names = write_models(prepared_survey, 3)
    run_main(ensemble, "--root", prepared_survey.root, "--exclude", names[0], "--exclude", names[2])
    use_folders(prepared_survey.root)
    assert names[0] not in capsys.readouterr().out
    uniform = blended_files()["blended_predictions_uniform"]
    np.testing.assert_array_equal(uniform, load_gz(folders.current.augmented("test", names[1])))


def test_models_are_chosen_by_name(prepared_survey: Survey, run_main, capsys):
    names = write_models(prepared_survey, 3)
    run_main(ensemble, "--root", prepared_survey.root, "--only", names[1])
    uniform = blended_files()["blended_predictions_uniform"]
    np.testing.assert_array_equal(uniform, load_gz(folders.current.augmented("test", names[1])))
    with pytest.raises(DataError, match="--only nobody: expected one of try_model_a"):
        run_main(ensemble, "--root", prepared_survey.root, "--only", "nobody")


def test_blends_of_other_predictions_or_options_are_announced(prepared_survey: Survey, run_main, capsys):
    names = write_models(prepared_survey, 2)

    def announced(*flags: str) -> bool:
        run_main(ensemble, "--root", prepared_survey.root, *flags)
        return "exist, from other inputs or options, and will be replaced" in capsys.readouterr().out

    assert [announced(), announced(), announced("--obey-tree"), announced("--only", names[0])] == [
        False,
        False,
        True,
        True,
    ]
    path = folders.current.augmented("test", names[0])
    save_gz(path, load_gz(path)[::-1])
    assert [announced("--only", names[0]), announced("--only", names[0])] == [True, False]


@pytest.mark.parametrize(
    ("excluded", "complaint"),
    [
        (["nobody"], "--exclude nobody: expected one of try_model_a, try_model_b"),
        (["a", "b"], "expected at least one model to blend"),
    ],
)
def test_a_wrong_exclusion_is_one_line(prepared_survey: Survey, run_main, excluded: list[str], complaint: str):
    write_models(prepared_survey, 2)
    names = [name if name == "nobody" else f"try_model_{name}" for name in excluded]
    with pytest.raises(DataError, match=complaint):
        run_main(ensemble, "--root", prepared_survey.root, *(part for name in names for part in ("--exclude", name)))


def test_models_that_only_harm_are_listed(prepared_survey: Survey, run_main, capsys):
    names = write_models(prepared_survey, 3)
    for part, num in (("valid", 3), ("test", 8)):
        save_gz(folders.current.augmented(part, names[2]), np.ones((num, 37), np.float32))
    run_main(ensemble, "--root", prepared_survey.root)
    lines = [line for line in capsys.readouterr().out.splitlines() if "leaving out" in line]
    assert len(lines) == 1 and f"leaving out {names[2]} " in lines[0] and f"--exclude {names[2]}" in lines[0]


def test_a_model_trained_on_all_galaxies_takes_its_twin_s_weights_and_place(prepared_survey: Survey, run_main, capsys):
    names = write_models(prepared_survey, 2)
    run_main(ensemble, "--root", prepared_survey.root)
    before = table_of(capsys.readouterr().out)
    use_folders(prepared_survey.root)
    everything = f"{names[0]}_all_galaxies"
    theirs = draw_labels(8, np.random.default_rng(8)).astype(np.float32)
    save_gz(folders.current.augmented("test", everything), theirs)
    run_main(ensemble, "--root", prepared_survey.root)
    use_folders(prepared_survey.root)
    lines = table_of(capsys.readouterr().out)
    assert lines[everything] == before[names[0]]
    assert names[0] not in lines
    other = load_gz(folders.current.augmented("test", names[1]))
    np.testing.assert_allclose(blended_files()["blended_predictions_uniform"], (theirs + other) / 2, atol=1e-6)


def test_a_model_trained_on_all_galaxies_needs_its_twin(prepared_survey: Survey, run_main):
    name = write_models(prepared_survey, 1)[0]
    for part in ("valid", "test"):
        folders.current.augmented(part, name).unlink()
    save_gz(folders.current.augmented("test", f"{name}_all_galaxies"), np.zeros((8, 37), np.float32))
    with pytest.raises(
        DataError, match=f"valid/{name}.npy.gz is missing.*predict_augmented_npy script of {name} again"
    ):
        run_main(ensemble, "--root", prepared_survey.root)
