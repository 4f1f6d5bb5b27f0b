"""The simulated survey: its files are Kaggle's, its votes obey the tree, and its images and votes show its traits."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

import simulate_galaxies
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.image_geometry import IMAGE_SHAPE
from machine.files import DataError
from survey import images, simulated_votes
from survey.folders import SUBSETS, Folders
from survey.simulated_image import Traits
from survey.simulated_votes import vote

SCRIPT = Path(simulate_galaxies.__file__)
DISK = Traits(resolution=26, brightness=0.04, age=0.4, angle=30, inclination=20, disk=0.85, bulge_size=0.13)
SPHEROID = Traits(resolution=26, brightness=0.04, age=0.75, angle=30, bulge_index=1.6, bulge_size=0.42)
SMALL = {"train": 12, "test": 5}


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def write(root, seed=3, numbers=SMALL, workers=1):
    simulate_galaxies.write_survey(Folders(root), simulate_galaxies.Survey(seed), numbers, workers)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def mean_votes(traits):
    return np.mean([vote(traits, np.random.default_rng(i), GALAXY_ZOO_2)[0] for i in range(60)], axis=0)


def share(traits, question, answer):
    """Return an answer's mean weighted fraction over many galaxies of the same traits."""
    return mean_votes(traits)[GALAXY_ZOO_2.column(question, answer)]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    root = tmp_path_factory.mktemp("survey")
    done = run("--root", root, "--num-train", 12, "--num-test", 5, "--seed", 3, "--num-workers", 2)
    assert done.returncode == 0, done.stderr
    assert "12 training and 5 test galaxies" in done.stdout
    assert done.stderr == ""
    return root


def test_files_are_laid_out_and_encoded_as_kaggles(survey):
    folders = Folders(survey)
    ids, labels = images.read_labels_csv(folders.labels_csv)
    names = {s: sorted(int(path.stem) for path in folders.images(s).iterdir()) for s in SUBSETS}
    assert names["train"] == ids.tolist()
    assert len(names["test"]) == 5
    assert not set(names["train"]) & set(names["test"])
    assert min(names["train"] + names["test"]) >= 100_000
    assert max(names["train"] + names["test"]) <= 999_999
    assert ids.dtype == np.int64
    assert (labels.dtype, labels.shape) == (np.float64, (12, 37))
    assert folders.labels_csv.read_text().splitlines()[0] == ",".join(("GalaxyID", *GALAXY_ZOO_2.columns))
    for subset in SUBSETS:
        for img_id in names[subset]:
            path = folders.images(subset) / f"{img_id}.jpg"
            assert images.read_image(path).std() > 1
            assert simplejpeg.decode_jpeg_header(path.read_bytes()) == (424, 424, "YCbCr", "420")


def test_table_and_images_are_those_of_simulate(survey):
    folders = Folders(survey)
    ids, labels = images.read_labels_csv(folders.labels_csv)
    for index in (0, 11):
        image, expected, _ = simulate_galaxies.simulate(simulate_galaxies.Survey(3), "train", index)
        np.testing.assert_allclose(labels[index], expected, rtol=0, atol=1e-15)
        assert (image.dtype, image.shape) == (np.uint8, IMAGE_SHAPE)
        written = images.read_image(folders.images("train") / f"{ids[index]}.jpg")
        assert np.abs(written.astype(float) - image).mean() < 3


def test_survey_does_not_depend_on_the_number_of_workers(survey, tmp_path):
    write(tmp_path)
    assert contents(tmp_path) == contents(survey)


def test_another_run_with_the_same_arguments_completes_the_same_survey(tmp_path):
    numbers = {"train": 3, "test": 1}
    write(tmp_path, numbers=numbers)
    before = contents(tmp_path)
    next(Folders(tmp_path).images("train").iterdir()).unlink()
    Folders(tmp_path).labels_csv.unlink()
    write(tmp_path, numbers=numbers)
    assert contents(tmp_path) == before


def test_seed_subset_and_index_each_make_another_galaxy():
    first = simulate_galaxies.simulate(simulate_galaxies.Survey(1), "train", 0)
    for seed, subset, index in ((2, "train", 0), (1, "test", 0), (1, "train", 1)):
        image, votes, _ = simulate_galaxies.simulate(simulate_galaxies.Survey(seed), subset, index)
        assert not np.array_equal(image, first[0])
        assert not np.array_equal(votes, first[1])


def test_votes_obey_the_tree_and_are_graded():
    votes = []
    for index in range(600):
        rng = np.random.default_rng(index)
        votes.append(vote(simulate_galaxies.draw_traits(rng), rng, GALAXY_ZOO_2)[0])
    votes = np.array(votes)
    totals, expected = GALAXY_ZOO_2.question_totals(votes)
    np.testing.assert_allclose(totals, expected, rtol=0, atol=1e-12)
    assert votes.min() >= 0
    assert votes.max() <= 1
    smooth, features, artifact = votes[:, :3].mean(axis=0)
    assert 0.35 < smooth < 0.52
    assert 0.44 < features < 0.62
    assert 0.005 < artifact < 0.06
    assert np.mean((votes[:, 0] > 0.2) & (votes[:, 0] < 0.8)) > 0.15
    assert (votes.max(axis=0) > 0.1).all()  # every answer is the right one somewhere


def test_votes_of_a_star_nobody_takes_for_a_galaxy(monkeypatch):
    certain = simulated_votes.answer_probabilities(SPHEROID, GALAXY_ZOO_2) | {1: np.array([0.0, 0.0, 1.0])}
    monkeypatch.setattr(simulated_votes, "answer_probabilities", lambda *_: certain)
    expected = np.zeros(37)
    expected[[GALAXY_ZOO_2.column(1, 3), GALAXY_ZOO_2.column(6, 2)]] = 1
    np.testing.assert_array_equal(vote(SPHEROID, np.random.default_rng(0), GALAXY_ZOO_2)[0], expected)


@pytest.mark.parametrize(
    ("less", "more", "question", "answer"),
    [
        (SPHEROID, DISK, 1, 2),
        (SPHEROID, replace(SPHEROID, star=1), 1, 3),
        (SPHEROID, replace(SPHEROID, trail=1), 1, 3),
        (DISK, replace(DISK, inclination=88), 2, 1),
        (DISK, replace(DISK, bar=1), 3, 1),
        (DISK, replace(DISK, arm_contrast=0.9), 4, 1),
        (replace(DISK, disk=0.95), replace(DISK, disk=0.5), 5, 3),
        (replace(SPHEROID, bulge_axis_ratio=0.6), SPHEROID, 7, 1),
        (SPHEROID, replace(SPHEROID, bulge_axis_ratio=0.25), 7, 3),
        (DISK, replace(DISK, ring=1), 8, 1),
        (SPHEROID, replace(SPHEROID, arc=1), 8, 2),
        (DISK, replace(DISK, disturbed=1), 8, 3),
        (DISK, replace(DISK, irregular=1), 8, 4),
        (DISK, replace(DISK, merger=1), 8, 6),
        (replace(DISK, inclination=88), replace(DISK, inclination=88, dust=1), 8, 7),
        (replace(DISK, inclination=88, disk=1), replace(DISK, inclination=88, disk=0.7), 9, 1),
        (replace(DISK, inclination=88, disk=0.7), replace(DISK, inclination=88, disk=0.7, boxiness=1), 9, 2),
        (replace(DISK, arm_contrast=0.9, pitch=28), replace(DISK, arm_contrast=0.9, pitch=10), 10, 1),
        (replace(DISK, arm_contrast=0.9, pitch=10), replace(DISK, arm_contrast=0.9, pitch=28), 10, 3),
    ],
)
def test_a_trait_raises_its_answer(less, more, question, answer):
    assert share(more, question, answer) > share(less, question, answer) + 0.15


@pytest.mark.parametrize("num_arms", [1, 2, 3, 4, 5])
def test_number_of_arms_is_the_answer_most_give(num_arms):
    votes = mean_votes(replace(DISK, arm_contrast=0.9, pitch=25, num_arms=num_arms))
    assert np.argmax(votes[GALAXY_ZOO_2.column(11, 1) : GALAXY_ZOO_2.column(11, 5) + 1]) == num_arms - 1


def test_what_the_atmosphere_blurs_away_gets_fewer_votes():
    spiral = replace(DISK, arm_contrast=0.6, num_arms=3)
    assert share(replace(spiral, resolution=12), 4, 1) < share(replace(spiral, resolution=40), 4, 1) - 0.3
    assert share(spiral, 4, 1) > share(replace(spiral, inclination=78), 4, 1) + 0.3


@pytest.mark.parametrize(
    "name", ["images_train_rev1/100001.jpg", "images_test_rev1/a.png", "training_solutions_rev1.csv"]
)
def test_refuses_to_mix_with_other_data(tmp_path, name):
    path = tmp_path / "data" / "raw" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    with pytest.raises(DataError, match="--data"):
        write(tmp_path)
    assert contents(tmp_path / "data" / "raw") == {name: b"precious"}


def test_refuses_another_survey_and_a_foreign_image_in_its_own(tmp_path):
    numbers = {"train": 2, "test": 1}
    write(tmp_path, seed=3, numbers=numbers)
    before = contents(tmp_path)
    with pytest.raises(DataError, match="not of this survey"):
        write(tmp_path, seed=4, numbers=numbers)
    assert contents(tmp_path) == before
    foreign = Folders(tmp_path).images("test") / "1.jpg"
    foreign.write_bytes(b"precious")
    with pytest.raises(DataError, match=r"1\.jpg"):
        write(tmp_path, seed=3, numbers=numbers)
    assert contents(tmp_path) == before | {str(foreign.relative_to(tmp_path)): b"precious"}


def test_refuses_a_replaced_table_and_a_broken_manifest(tmp_path):
    numbers = {"train": 2, "test": 1}
    write(tmp_path, numbers=numbers)
    folders = Folders(tmp_path)
    lines = folders.labels_csv.read_text().splitlines(keepends=True)
    folders.labels_csv.write_text("".join([*lines[:-1], "1" + lines[-1]]))
    with pytest.raises(DataError, match="not of this survey"):
        write(tmp_path, numbers=numbers)
    folders.labels_csv.unlink()
    manifest = tmp_path / "data" / "raw" / simulate_galaxies.MANIFEST
    assert json.loads(manifest.read_text()) == {"seed": 3, "num_train": 2, "num_test": 1}
    manifest.write_text("not json")
    with pytest.raises(DataError, match="manifest"):
        write(tmp_path, numbers=numbers)


def test_more_galaxies_than_ids_are_refused(tmp_path):
    with pytest.raises(DataError, match="900000"):
        write(tmp_path, numbers={"train": 900_000, "test": 1})


@pytest.mark.parametrize("arguments", [("--num-train", "0"), ("--seed", "x"), ("--no-such-flag",)])
def test_a_wrong_argument_ends_with_an_error(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["simulate_galaxies.py", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        simulate_galaxies.main()
    assert exit_info.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_refusal_is_one_line_and_a_status(tmp_path):
    (tmp_path / "data").write_text("a file")
    done = run("--root", tmp_path, "--num-train", 1, "--num-test", 1, "--num-workers", 1)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
