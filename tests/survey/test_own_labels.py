"""Votes in any table of Galaxy Zoo become Kaggle's labels and obey the tree; errors name the column."""

import re
from pathlib import Path

import numpy as np
import pandas
import pytest
from tiny import draw_labels

from catalogue.answer_columns import fractions_of
from galaxy.answer_names import PUBLISHED_NAMES, columns_of
from galaxy.decision_tree import GALAXY_ZOO_2, GALAXY_ZOO_DECALS, GALAXY_ZOO_DESI, GALAXY_ZOO_EUCLID
from galaxy.tree import Tree
from machine.files import DataError
from simulate_galaxies import draw_traits
from survey import own_labels
from survey.simulated_votes import vote
from survey.vote_columns import Choices

GALAXIES = [f"J{number:03d}+0.5" for number in range(12)]


def draw_counts(num_galaxies: int, most: int = 40) -> np.ndarray:
    """Return votes (n, 37) of volunteers of whom each walked the tree."""
    rng = np.random.default_rng(5)
    labels = draw_labels(num_galaxies, rng)
    counts = np.zeros(labels.shape, int)
    for number, answers in GALAXY_ZOO_2.slices.items():
        scaled_by = GALAXY_ZOO_2.scaled_by[number]
        for row in range(num_galaxies):
            asked = counts[row, list(scaled_by)].sum() if scaled_by else most
            shares = labels[row, answers] / max(labels[row, answers].sum(), 1e-30)
            counts[row, answers] = rng.multinomial(asked, shares / shares.sum()) if shares.sum() else 0
    return counts


COUNTS = draw_counts(len(GALAXIES))
with np.errstate(invalid="ignore"):
    FRACTIONS = np.concatenate(
        [COUNTS[:, s] / COUNTS[:, s].sum(axis=1, keepdims=True) for s in GALAXY_ZOO_2.slices.values()], axis=1
    )
EXPECTED = GALAXY_ZOO_2.weigh(np.nan_to_num(FRACTIONS))


def write(path: Path, values: np.ndarray, names: list[str], id_column: str = "id_str", **columns: object) -> Path:
    table = pandas.DataFrame({id_column: GALAXIES, **columns, **dict(zip(names, values.T, strict=True))})
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    else:
        pytest.importorskip("astropy.table").Table.from_pandas(table).write(path)
    return path


def ending(names: tuple[str, ...], end: str) -> list[str]:
    return [name + end for name in names]


NAMES = GALAXY_ZOO_2.names
WITH_GZ2 = tuple(name.replace("_", "-gz2_", 1) for name in NAMES)
WAYS = {
    "Kaggle's": (EXPECTED, list(GALAXY_ZOO_2.columns)),
    "counts of the published table": (COUNTS, ending(PUBLISHED_NAMES, "_count")),
    "fractions of the published table": (FRACTIONS, ending(PUBLISHED_NAMES, "_fraction")),
    "weighted fractions of the published table": (FRACTIONS, ending(PUBLISHED_NAMES, "_weighted_fraction")),
    "debiased fractions of the published table": (FRACTIONS, ending(PUBLISHED_NAMES, "_debiased")),
    "fractions of later projects": (FRACTIONS, ending(NAMES, "_fraction")),
    "counts of later projects, without an ending": (COUNTS, list(WITH_GZ2)),
    "fractions without an ending": (FRACTIONS, list(NAMES)),
    "capitals and underscores": (FRACTIONS, [name.upper().replace("-", "_") + "_FRAC" for name in NAMES]),
    "weighted fractions under names of conditional ones": (EXPECTED, ending(NAMES, "_fraction")),
}


@pytest.mark.parametrize(("values", "names"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits"])
def test_all_names_and_types_of_votes_give_the_same_labels(tmp_path: Path, suffix: str, values, names: list[str]):
    path = write(tmp_path / f"votes{suffix}", values, names)
    found, labels, _ = own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)
    assert found == GALAXIES
    lost = weights_of_unanswered(COUNTS)
    np.testing.assert_allclose(labels[~lost], EXPECTED[~lost], atol=1e-12)
    assert_obeys(labels)


def weights_of_unanswered(counts: np.ndarray) -> np.ndarray:
    """Return the cells (n, 37) of questions without votes although votes lead to them, boolean."""
    totals, expected = GALAXY_ZOO_2.question_totals(counts)
    return np.repeat((totals == 0) & (expected > 0), [s.stop - s.start for s in GALAXY_ZOO_2.slices.values()], axis=1)


def assert_obeys(labels: np.ndarray) -> None:
    totals, expected = GALAXY_ZOO_2.question_totals(labels)
    np.testing.assert_allclose(totals, expected, atol=1e-6)
    assert labels.min() >= 0 and labels.max() <= 1


def test_the_names_are_of_all_answers_and_differ():
    for names in (NAMES, PUBLISHED_NAMES):
        assert [columns_of(GALAXY_ZOO_2)[re.sub("[^a-z0-9]+", "_", name.lower())] for name in names] == list(range(37))
    assert NAMES[:3] == (
        "smooth-or-featured_smooth",
        "smooth-or-featured_featured-or-disk",
        "smooth-or-featured_artifact",
    )
    assert PUBLISHED_NAMES[24] == "t08_odd_feature_a38_dust_lane"
    assert NAMES[GALAXY_ZOO_2.column(8, 7)] == "odd-feature_dust-lane"


def test_the_columns_of_our_own_catalogues_are_read():
    assert [columns_of(GALAXY_ZOO_2)[name.removesuffix("_fraction")] for name in fractions_of(GALAXY_ZOO_2)] == list(
        range(37)
    )


def test_answers_get_nothing_if_the_question_was_not_asked_and_are_even_if_its_votes_are_missing(
    tmp_path: Path, capsys
):
    values = FRACTIONS.copy()
    values[0, GALAXY_ZOO_2.slices[1]] = 1, 0, 0  # smooth: no disk
    values[0, GALAXY_ZOO_2.slices[2]] = np.nan
    values[0, GALAXY_ZOO_2.slices[7]] = np.nan  # smooth, and roundness was not asked
    values[0, GALAXY_ZOO_2.slices[6]] = np.nan
    [*_], labels, _ = own_labels.read(
        write(tmp_path / "votes.csv", values, ending(NAMES, "_fraction")), set(GALAXIES), GALAXY_ZOO_2
    )
    np.testing.assert_allclose(labels[0, GALAXY_ZOO_2.slices[2]], 0)
    np.testing.assert_allclose(labels[0, GALAXY_ZOO_2.slices[7]], 1 / 3)
    np.testing.assert_allclose(labels[0, GALAXY_ZOO_2.slices[6]], [0, 1])
    np.testing.assert_allclose(labels[0, GALAXY_ZOO_2.slices[8]], 0)
    assert_obeys(labels)
    assert "lack the votes on a question that was asked" in capsys.readouterr().out


def test_rows_without_a_vote_on_the_first_question_are_left_out(tmp_path: Path, capsys):
    counts = COUNTS.copy()
    counts[3] = 0
    path = write(tmp_path / "votes.csv", counts, ending(NAMES, "_count"))
    found, labels, _ = own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)
    assert found == [name for name in GALAXIES if name != "J003+0.5"] and len(labels) == 11
    assert "left out 1 rows without a vote on question 1, 'J003+0.5' first" in capsys.readouterr().out


def test_fractions_that_do_not_sum_to_one_are_normalised_with_a_line(tmp_path: Path, capsys):
    values = FRACTIONS.copy()
    values[4, GALAXY_ZOO_2.slices[1]] *= 0.8
    _, labels, _ = own_labels.read(
        write(tmp_path / "votes.csv", values, ending(NAMES, "_debiased")), set(GALAXIES), GALAXY_ZOO_2
    )
    assert "the fractions of 1 galaxies do not sum to 1" in capsys.readouterr().out
    assert_obeys(labels)


def test_an_error_of_a_missing_column_has_the_nearest_name(tmp_path: Path, capsys):
    names = ending(NAMES, "_fraction")
    names[0], names[20] = "smooth-or-featurd_smooth_fraction", "something else"
    path = write(tmp_path / "votes.csv", FRACTIONS, names)
    with pytest.raises(DataError, match=r"for each of 37 answers, but 2 have none, smooth-or-featured_smooth first"):
        own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "no column 'smooth-or-featured_smooth_fraction', 't01_smooth_or_features_a01_smooth_fraction'"
    )
    assert "or 'Class1.1'; the nearest name is 'smooth-or-featurd_smooth_fraction'" in lines[0]
    assert f"{NAMES[20]}_fraction" in lines[1] and "nearest" not in lines[1]


def test_whole_questions_may_be_missing_with_fill_missing(tmp_path: Path):
    keep = [column for column in range(37) if column not in range(*GALAXY_ZOO_2.slices[8].indices(37))]
    names = [ending(NAMES, "_fraction")[column] for column in keep]
    path = write(tmp_path / "votes.csv", FRACTIONS[:, keep], names)
    with pytest.raises(DataError, match=r"7 have none, odd-feature_ring first; .* with --fill-missing"):
        own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)
    _, labels, _ = own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2, Choices(fill_missing=True))
    odd = GALAXY_ZOO_2.column(6, 1)
    np.testing.assert_allclose(labels[:, GALAXY_ZOO_2.slices[8]], np.repeat(labels[:, [odd]] / 7, 7, axis=1))
    assert_obeys(labels)
    path = write(tmp_path / "fewer.csv", FRACTIONS[:, keep[1:]], names[1:])
    with pytest.raises(DataError, match="1 have none, smooth-or-featured_smooth first"):
        own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2, Choices(fill_missing=True))


def test_one_of_several_types_of_votes_is_chosen(tmp_path: Path, capsys):
    even = np.ones((12, 37))
    columns = dict(zip(ending(NAMES, "_count"), even.T, strict=True))
    path = write(tmp_path / "votes.csv", FRACTIONS, ending(NAMES, "_fraction"), **columns)
    _, labels, _ = own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)
    np.testing.assert_allclose(labels[:, GALAXY_ZOO_2.slices[1]], EXPECTED[:, GALAXY_ZOO_2.slices[1]], atol=1e-12)
    assert "like 'smooth-or-featured_smooth_fraction'" in capsys.readouterr().out
    _, labels, _ = own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2, Choices(vote_type="count"))
    np.testing.assert_allclose(labels[:, GALAXY_ZOO_2.slices[1]], 1 / 3)


@pytest.mark.parametrize(
    ("id_column", "cells"),
    [
        ("iauname", GALAXIES),
        ("file_loc", [f"/images/{name}.png" for name in GALAXIES]),
        ("filename", [f"C:\\images\\{name}.JPG" for name in GALAXIES]),
        ("Name", [f" {name} " for name in GALAXIES]),
    ],
)
def test_names_are_found_in_the_column_that_has_them(tmp_path: Path, id_column: str, cells: list[str]):
    path = write(tmp_path / "votes.csv", COUNTS, ending(NAMES, "_count"), id_str="other")
    table = pandas.read_csv(path)
    table["id_str"], table[id_column] = "other", cells
    table.to_csv(path, index=False)
    assert own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)[0] == GALAXIES


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits"])
def test_numbers_are_names_with_all_their_digits(tmp_path: Path, suffix: str):
    ids = [587722981736120347 + number for number in range(12)]
    path = write(tmp_path / f"votes{suffix}", COUNTS, ending(NAMES, "_count"), "unused", dr7objid=ids)
    assert own_labels.read(path, {str(ids[3])}, GALAXY_ZOO_2)[0] == list(map(str, ids))


def test_numbers_that_lost_digits_are_refused(tmp_path: Path):
    pytest.importorskip("pyarrow")
    ids = [5.87722981736120347e17 + 100 * number for number in range(12)]
    path = write(tmp_path / "votes.parquet", COUNTS, ending(NAMES, "_count"), "unused", dr7objid=ids)
    with pytest.raises(DataError, match=r"expected whole numbers or text in dr7objid, got 5\.8.*, which lost digits"):
        own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)


NAMES_OF_COUNTS = ending(NAMES, "_count")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.rename(columns={"id_str": "what"}), "expected the galaxies' names in a column like GalaxyID"),
        (lambda t: t.assign(id_str="none"), "id_str contains 'none', and an image is called 'J000.0.5'; name the"),
        (lambda t: t.assign(**{NAMES_OF_COUNTS[3]: "many"}), "expected votes of at least 0, got 'many' for 'J000"),
        (lambda t: t.assign(**{NAMES_OF_COUNTS[3]: -2}), "expected votes of at least 0, got '-2' for 'J000"),
        (lambda t: t.assign(**{NAMES_OF_COUNTS[3]: np.inf}), "expected votes of at least 0, got 'inf' for 'J000"),
        (lambda t: t[:0], "expected one row per galaxy, got none"),
        (lambda t: t.assign(**{"Smooth or featured: smooth count": 1}), "one column per answer, got smooth-or-feat"),
        (
            lambda t: t.rename(columns=lambda name: name.replace("_count", "_fraction")),
            r"expected fractions within \[0, 1\], got [0-9]+ for .*; for counts, see --votes",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_of_one_line(tmp_path: Path, change, reason: str):
    path = write(tmp_path / "votes.csv", COUNTS, NAMES_OF_COUNTS)
    change(pandas.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(DataError, match=reason) as raised:
        own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2)
    assert "\n" not in str(raised.value)


def test_a_missing_column_of_names_is_an_error(tmp_path: Path):
    path = write(tmp_path / "votes.csv", COUNTS, NAMES_OF_COUNTS)
    with pytest.raises(DataError, match="expected a column 'id_string', got none; the nearest name is 'id_str'"):
        own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2, Choices(name_column="id_string"))


LATER = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on": ("yes", "no"),
    "has-spiral-arms": ("yes", "no"),
    "bar": ("strong", "weak", "no"),
    "bulge-size": ("dominant", "large", "moderate", "small", "none"),
    "how-rounded": ("round", "in-between", "cigar-shaped"),
    "edge-on-bulge": ("boxy", "none", "rounded"),
    "spiral-winding": ("tight", "medium", "loose"),
    "spiral-arm-count": ("1", "2", "3", "4", "more-than-4", "cant-tell"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}


@pytest.mark.parametrize("project", ["", "-dr5", "-desi", "-euclid"])
def test_answers_of_later_projects_are_counted_for_those_of_galaxy_zoo_2(
    project: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    votes = {
        f"{question}{project}_{answer}_fraction": 1 / len(answers)
        for question, answers in LATER.items()
        for answer in answers
    }
    votes |= {
        f"bar{project}_strong_fraction": 0.5,
        f"bar{project}_weak_fraction": 0.3,
        f"bar{project}_no_fraction": 0.2,
    }
    path = tmp_path / "votes.csv"
    pandas.DataFrame([{"id_str": "a", **votes}]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"9 have none.*nothing about questions 6, 8.*--fill-missing"):
        own_labels.read(path, ["a"], GALAXY_ZOO_2)
    assert "nearest" not in capsys.readouterr().out
    _, labels, _ = own_labels.read(path, ["a"], GALAXY_ZOO_2, Choices(fill_missing=True))
    bar, bulge, shape = (labels[0, GALAXY_ZOO_2.slices[question]] for question in (3, 5, 9))
    np.testing.assert_allclose(bar / bar.sum(), [0.8, 0.2])
    np.testing.assert_allclose(bulge / bulge.sum(), [0.2, 0.2, 0.4, 0.2])
    np.testing.assert_allclose(shape / shape.sum(), [1 / 3] * 3)
    said = capsys.readouterr().out
    assert f"bar_yes = bar{project}_strong_fraction + bar{project}_weak_fraction" in said and "merging" in said


@pytest.mark.parametrize("tree", [GALAXY_ZOO_DECALS, GALAXY_ZOO_DESI, GALAXY_ZOO_EUCLID], ids=lambda tree: tree.name)
@pytest.mark.parametrize("kind_of_table", ["counts", "fractions and totals"])
def test_tables_of_later_surveys_are_read_in_their_own_names(tmp_path: Path, tree: Tree, kind_of_table: str):
    rng = np.random.default_rng(3)
    votes, counts = zip(*(vote(draw_traits(rng), rng, tree, 20) for _ in GALAXIES), strict=True)
    votes, counts = np.array(votes), np.array(counts)
    fractions = tree.conditional(votes)  # NaN: gaps where nobody was asked
    with_project = [name.replace("_", f"-{tree.project}_", 1) for name in tree.names]
    if kind_of_table == "counts":
        path = write(tmp_path / "votes.csv", np.nan_to_num(fractions) * counts[:, tree.question_of], with_project)
    else:
        totals = {f"{question.name}_total": counts[:, n] for n, question in enumerate(tree.questions)}
        path = write(tmp_path / "votes.parquet", fractions, ending(tree.names, "_fraction"), **totals)
    names, labels, found = own_labels.read(path, set(GALAXIES), tree)
    assert names == GALAXIES
    np.testing.assert_allclose(labels, votes, atol=1e-9)
    np.testing.assert_allclose(found, counts)


def test_fractions_alone_have_no_counts(tmp_path: Path):
    path = write(tmp_path / "votes.csv", FRACTIONS, list(NAMES))
    assert own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2).counts is None
    path = write(tmp_path / "counts.csv", COUNTS, ending(NAMES, "_count"))
    found = own_labels.read(path, set(GALAXIES), GALAXY_ZOO_2).counts
    np.testing.assert_array_equal(found, np.stack([COUNTS[:, s].sum(axis=1) for s in GALAXY_ZOO_2.slices.values()], 1))


def test_a_table_of_classes_is_one_question(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "labels.csv"
    path.write_text("id_str,file_loc,label,time\na,x/a.jpg,ring,\nb,x/b.jpg,other,\na,x/a.jpg,ring,\n")
    tree, (names, labels, counts) = own_labels.read_classes(path, {"a", "b", "c"})
    assert (names, labels.tolist(), counts) == (["a", "b"], [[0, 1], [1, 0]], None)
    assert tree.num_answers == 2 and "one question, with the answers other, ring" in capsys.readouterr().out
    for rows, message in {
        "a,ring\n": "expected 2 to 32 different labels, got 1",
        "a,ring\na,other\n": "a has the labels 'ring' and 'other'",
        "a,ring\nb,\n": "b has no label",
        "x,ring\ny,other\n": "expected names of images",
    }.items():
        path.write_text(f"id_str,label\n{rows}")
        with pytest.raises(DataError, match=message):
            own_labels.read_classes(path, {"a", "b"})
    path.write_text("id_str,label,Class1.1\na,ring,1\n")
    assert own_labels.read_classes(path, {"a"}) is None
