"""The page of a catalogue: what it counts, what it shows."""

import json
from pathlib import Path

import made_pages
import numpy as np
import pyarrow as pa
import pytest
from made_pages import HOSTILE

from catalogue import answer_columns
from catalogue.columns import Choices
from catalogue.flags import are_trusted
from galaxy.decision_tree import GALAXY_ZOO_2
from machine import tables
from machine.files import DataError
from report import catalogue_page, page
from report import galaxies as shown_galaxies
from report.page import Bars, Gallery, Page, Table, Tree


def part(of: Page, key: str, kind: type, place: int = 0) -> object:
    [section] = [each for each in (*of.before, *of.after) if each.key == key]
    return [each for each in section.parts if isinstance(each, kind)][place]


@pytest.mark.parametrize("weighted", [False, True])
def test_galaxies_have_the_votes_of_the_network(weighted: bool):
    schema, parts, votes = made_pages.catalogue(40, choices=Choices(weighted=weighted))
    built = catalogue_page.build(parts, schema, made_pages.pictures)
    read = np.arange(40) % 7 != 6
    assert len(built.galaxies) == read.sum()
    assert built.galaxies.weighted == weighted
    # What fewer than one of twenty was asked has no fractions, and nothing after it.
    np.testing.assert_allclose(built.galaxies.votes, votes[read], atol=1e-6 if weighted else 0.05)
    asked = np.isfinite(answer_columns.conditional(votes[read], GALAXY_ZOO_2))
    np.testing.assert_allclose(built.galaxies.votes[asked], votes[read][asked], atol=1e-6)
    np.testing.assert_allclose(part(built, "overview", Tree).votes, votes[read].mean(axis=0), atol=0.03)


def test_all_rows_are_counted_and_unread_files_listed():
    schema, parts, _ = made_pages.catalogue(60)
    built = catalogue_page.build(parts, schema)
    ok = np.arange(60) % 7 != 6
    flags = dict(part(built, "overview", Bars, 2).rows)
    assert [flags[words] for words in flags if words.startswith("far")] == [(ok & (np.arange(60) % 5 == 0)).sum()]
    assert sum(number for _, number in part(built, "overview", Bars, 0).rows) == ok.sum()
    assert sum(number for _, number in part(built, "overview", Bars, 1).rows) == ok.sum()
    unread = part(built, "unread", Table)
    assert len(unread.rows) == (~ok).sum()
    assert unread.rows[0] == (parts[0]["file_loc"][6].as_py(), "is empty <b>")
    assert built.lead == f"{ok.sum()} galaxies, {(~ok).sum()} files that could not be read."


def test_the_first_note_says_how_many_rows_can_be_trusted_and_why_the_others_cannot():
    schema, parts, _ = made_pages.catalogue(60)
    rows = np.arange(60)
    ok, far, cut = rows % 7 != 6, rows % 5 == 0, rows % 3 == 0
    assert catalogue_page.build(parts, schema).notes[0] == (
        f"{(ok & ~far & ~cut).sum()} of {ok.sum()} rows with answers can be trusted. Do not trust the others: "
        f"{(ok & cut).sum()} cut by the border, {(ok & far).sum()} unlike the training images."
    )
    near = [table.filter(are_trusted(np.asarray(table["flag"]))) for table in parts]
    built = catalogue_page.build(near, schema)
    assert built.notes == [f"{built.galaxies.trusted.sum()} of {len(built.galaxies)} rows with answers can be trusted."]


def test_more_rows_than_a_page_shows_are_spread_over_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalogue_page, "spread_evenly", lambda number, most: shown_galaxies.spread_evenly(number, 12))
    schema, parts, _ = made_pages.catalogue(70)
    asked = []

    def pictures(rows: list[int]) -> list[None]:
        asked.extend(rows)
        return [None] * len(rows)

    built = catalogue_page.build(parts, schema, pictures, fields=[made_pages.field(70)], num_ok=60)
    assert len(asked) == 12 == len(built.galaxies) and asked == sorted(asked)
    assert asked[0] == 0 and asked[-1] == 68  # row 69 could not be read
    assert [row % 7 for row in asked].count(6) == 0
    names = [name for table in parts for name in table["id_str"].to_pylist()]
    assert built.galaxies.names == [names[row] for row in asked]
    [field] = built.galaxies.fields
    assert field.rows.tolist() == list(range(12))
    np.testing.assert_array_equal(field.x, made_pages.field(70).x[asked])
    assert "12 of them, evenly spread" in built.lead and built.lead.startswith("60 galaxies")


def test_the_farthest_by_distance_come_first_though_their_ranks_are_equal():
    schema, parts, _ = made_pages.catalogue(80)
    whole = pa.concat_tables(parts)
    index = schema.get_field_index("farther_than")
    whole = whole.set_column(index, schema.field(index), [np.ones(80, np.float32)])
    built = catalogue_page.build([whole], schema)
    gallery = part(built, "far", Gallery)
    [distances] = (np.asarray(column.values) for column in built.galaxies.columns if column.title == "distance")
    far = np.flatnonzero(built.galaxies.flags & 32)
    expected = far[np.argsort(-distances[far])][: catalogue_page.MAX_FARTHEST]
    assert gallery.rows == expected.tolist() and len(expected) == catalogue_page.MAX_FARTHEST
    assert gallery.words[0] == f"distance {distances[far].max():.2f}"


def test_a_model_of_classes_is_shown_with_classes_and_their_probability():
    schema, parts, _ = made_pages.catalogue(20)
    provenance = {**tables.provenance(schema), "classes": 5, "path questions": [1, 2, 7]}
    schema = schema.with_metadata({tables.PROVENANCE: json.dumps(provenance).encode()})
    built = catalogue_page.build([table.replace_schema_metadata(schema.metadata) for table in parts], schema)
    galaxies = built.galaxies
    assert (galaxies.path_title, galaxies.known, galaxies.average) == ("Most likely class", [1, 2, 7], "class average")
    assert galaxies.columns[0].title == galaxies.path_column == "probability"
    assert "class averages" in galaxies.interval
    votes = catalogue_page.build(*made_pages.catalogue(20)[1::-1]).galaxies
    assert (votes.path_title, votes.path_column) == ("Most likely path", "path votes") and "votes" in votes.interval


def test_full_tables_show_spreads_and_own_columns():
    schema, parts, _ = made_pages.catalogue(20, choices=Choices(full=True))
    built = catalogue_page.build(parts, schema)
    assert set(built.galaxies.spreads) == {"transforms", "models", "low68", "high68"}
    assert "what_is_it" in [column.title for column in built.galaxies.columns]
    plain = built.galaxies.as_plain()
    assert len(plain["spreads"]["low68"]) == 37 * len(built.galaxies)
    assert not made_plain_spreads(catalogue_page.build(*made_pages.catalogue(20)[1::-1]))


def made_plain_spreads(of: Page) -> dict:
    return of.galaxies.as_plain()["spreads"]


def test_whole_numbers_of_the_user_are_shown_exactly():
    passed = {"number": np.array([7, 0, 12]), "name": np.array([587722981742084144, 1, 2]), "z": np.array([0.5, 1, 2])}
    schema, parts, _ = made_pages.catalogue(3)
    whole = pa.concat_tables(parts)
    for name, values in passed.items():
        whole = whole.add_column(schema.get_field_index("status"), name, [values])
    shown = {column.title: column for column in catalogue_page.build([whole], whole.schema).galaxies.columns}
    assert shown["name"].values == ["587722981742084144", "1", "2"]
    assert (list(shown["number"].values), shown["number"].digits) == ([7, 0, 12], 0)
    assert shown["z"].digits == 5


@pytest.mark.parametrize("number", [0, 1, 7])
def test_small_and_unreadable_catalogues_have_a_page(number: int, tmp_path: Path):
    schema, parts, _ = made_pages.catalogue(number)
    # Of one file, and that one unreadable.
    parts = [table.filter(table["status"].to_numpy() != "ok") for table in parts] if number == 7 else parts
    built = catalogue_page.build(parts, schema, made_pages.pictures)
    assert len(built.galaxies) == (1 if number == 1 else 0)
    page.write(built, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_a_page_reads_the_rows_once_where_their_count_is_known():
    schema, tables, _ = made_pages.catalogue(40)
    passes = []

    class Counted(list):
        def __iter__(self):
            passes.append(1)
            return super().__iter__()

    once = catalogue_page.build(Counted(tables), schema, num_ok=35)
    assert len(passes) == 1 and len(once.galaxies) == 35
    assert once.galaxies.names == catalogue_page.build(tables, schema).galaxies.names


def test_a_row_without_answers_has_no_tree(tmp_path: Path):
    schema, parts, _ = made_pages.catalogue(7)
    table = parts[1][-1:]
    with pytest.raises(DataError, match=r"\.png is empty <b>; there is no tree to draw"):
        catalogue_page.draw(table, schema, None, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_hostile_names_reach_the_page_as_they_were_printed():
    schema, parts, _ = made_pages.catalogue(6)
    names = catalogue_page.build(parts, schema).galaxies.names
    assert names[0] == HOSTILE[0] and names[2] == HOSTILE[2]
