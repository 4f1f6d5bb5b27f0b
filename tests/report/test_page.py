"""A page is one file: text stays text, nothing is loaded, it is bounded in size."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import made_pages
import numpy as np
import pytest
from made_pages import HOSTILE

from galaxy import thumbnails
from report import page as pages
from report.galaxies import (
    MAX_COLUMNS,
    MAX_FIELD_BYTES,
    MAX_ROWS,
    SCALE,
    Column,
    Field,
    Galaxies,
    numbers,
    parts,
    short,
    spread_evenly,
)
from report.page import Bars, Facts, Figure, Gallery, Page, Section, Table, Tree


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, its texts."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_page() -> Page:
    """Return a page in which all that is told is hostile."""
    bad = "".join(HOSTILE[:4])
    votes = np.full((len(HOSTILE), 37), np.nan)
    votes[1:] = 0.25
    galaxies = Galaxies(
        HOSTILE,
        votes,
        made_pages.pictures(range(len(HOSTILE))),
        [Column(bad, HOSTILE, help=bad), Column("numbers", np.array([np.nan, np.inf, -np.inf, 0, 1, 2, 3]))],
        flags=np.arange(len(HOSTILE)),
        flag_words={1: bad},
        fields=[made_pages.field(len(HOSTILE))],
    )
    shown = [
        Facts([(bad, bad), ("nothing", None), ("unknown", np.nan)]),
        Table(bad, (bad, bad), [(bad, bad), (1, np.float32(2.5))]),
        Bars(bad, [(bad, 3), ("none", 0)]),
        Bars("nothing", []),
        Figure(b"<svg/>", b"<svg/>", bad, bad),
        Tree(votes[1], bad, bad),
        Gallery([0, 1], [bad, "b"]),
    ]
    section = Section("a", bad, shown, bad)
    return Page(bad, bad, [section], galaxies, bad, [Section("b", bad, [], folded=True)])


@pytest.fixture(scope="module")
def text() -> str:
    return pages.render(hostile_page())


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_text_stays_text(text: str):
    reader = Reader(text)
    expected = Reader(pages.render(Page("a", "b", [])))
    own = "section h2 p dl div dt dd table caption thead tbody tr th td svg rect figure picture source img figcaption"
    own += " ul li button details summary form label input output select span a"
    assert sum(name == "script" for name, _ in reader.elements) == 2
    assert {name for name, _ in reader.elements} <= {name for name, _ in expected.elements} | set(own.split())
    assert not any(key.startswith("on") for _, attributes in reader.elements for key in attributes)
    assert any("".join(HOSTILE[:4]) in each for each in reader.texts)
    assert data_of(text)["galaxies"]["names"][:4] == list(HOSTILE[:4])


def test_nothing_is_loaded(text: str):
    for _, attributes in Reader(text).elements:
        for key in {"src", "srcset", "href", "action", "data", "poster"} & attributes.keys():
            assert attributes[key].startswith(("data:", "#"))
    own = "\n".join((pages.TEMPLATES / name).read_text() for name in ("page.css", "page.js", "tree.js", "page.html"))
    addresses = re.findall(r"https?://[^\"' ]*", own)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}, "the name of a format, which nobody asks for"
    assert not re.search(
        r"@import|url\(|innerHTML|insertAdjacentHTML|document\.write|\beval\b|fetch\(|XMLHttp|import\(", own
    )


def test_the_policy_names_the_page_s_own_style_and_script(text: str):
    [policy] = [a["content"] for n, a in Reader(text).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for name, found in (
        ("style-src", re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]),
        ("script-src", re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]),
    ):
        checksum = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        assert f"{name} 'sha256-{checksum}'" in policy
    assert "unsafe" not in policy and ' style="' not in text


def test_unknown_numbers_are_none(text: str):
    galaxies = data_of(text)["galaxies"]
    assert galaxies["columns"][1]["values"] == [None, None, None, 0, 1, 2, 3]
    assert galaxies["votes"][:37] == [-1] * 37 and galaxies["votes"][37] == SCALE // 4


def test_the_largest_page_is_below_15_megabytes():
    room = thumbnails.share(MAX_ROWS)
    fractions = np.random.default_rng(1).uniform(0, 1, (MAX_ROWS, 37))
    marks = np.full(MAX_ROWS, 12345.6)
    galaxies = Galaxies(
        ["<" * 900] * MAX_ROWS,
        fractions,
        [b"RIFF" + bytes(range(256)) * (room // 256)] * MAX_ROWS,
        [Column("a", ["\U0001f30c" * 900] * MAX_ROWS) for _ in range(MAX_COLUMNS // 2)]
        + [Column("b", fractions[:, 0] * 1e5, 5) for _ in range(MAX_COLUMNS // 2)],
        spreads=dict.fromkeys(("transforms", "models", "low68", "high68"), fractions),
        flags=np.full(MAX_ROWS, 63),
        flag_words={1: "one"},
        fields=[
            Field(b"\xff\xd8\xff" + bytes(MAX_FIELD_BYTES - 3), 99999, 99999, marks, marks, marks, np.arange(MAX_ROWS))
        ],
    )
    assert len(pages.render(Page("a", "b", [], galaxies)).encode()) < 15_000_000


def test_rows_beyond_what_a_page_shows_are_refused():
    with pytest.raises(ValueError, match="at most 5000 galaxies"):
        Galaxies(["a"] * (MAX_ROWS + 1), np.zeros((MAX_ROWS + 1, 37)), [None] * (MAX_ROWS + 1))
    with pytest.raises(ValueError, match="as many votes"):
        Galaxies(["a"], np.zeros((2, 37)), [None])
    large = replace(made_pages.field(1), picture=b"\xff\xd8\xff" + bytes(MAX_FIELD_BYTES // 2))
    with pytest.raises(ValueError, match="pictures of fields of at most"):
        Galaxies(["a"], np.zeros((1, 37)), [None], fields=[large, large])


@pytest.mark.parametrize(("number", "most"), [(0, 3), (1, 3), (3, 3), (4, 3), (10, 3), (12_345, 5_000)])
def test_rows_are_spread_evenly(number: int, most: int):
    rows = spread_evenly(number, most)
    assert len(rows) == min(number, most) == len(set(rows.tolist()))
    if number:
        assert rows[0] == 0 and (len(rows) == 1 or rows[-1] == number - 1)
        assert np.ptp(np.diff(rows)) <= 1 if len(rows) > 2 else True


def test_texts_are_shortened_by_what_they_take():
    assert short("a" * 1_000) == "a" * 1_000
    assert short("<" * 1_000) == "<" * 99 + "…"
    assert len(json.dumps(short("銀" * 5_000, 240))) < 240
    assert short("\ud800") == "\\ud800"


def test_numbers_and_fractions_as_a_page_has_them():
    assert numbers(np.array([1.23456, np.nan]), 2) == [1.23, None]
    assert numbers(np.array([2**60]), 2) == [2**60]
    assert parts(np.array([[0.25, np.nan, 1.5, -1]])) == [2_500, -1, 10_000, 0]


class TestFields:
    def test_marks_of_rows_that_are_not_shown_are_left_out(self):
        field = made_pages.field(10).among(np.array([1, 4, 9]))
        whole = made_pages.field(10)
        assert field.rows.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(field.x, whole.x[[1, 4, 9]])
        assert made_pages.field(10).among(np.arange(0)).rows.size == 0

    def test_what_can_not_be_shown_is_refused(self):
        whole = made_pages.field(3)
        assert whole.as_plain(3)["picture"].startswith("data:image/jpeg;base64,")
        with pytest.raises(ValueError, match="rows of the 2 galaxies"):
            whole.as_plain(2)
        for changed, match in (
            ({"picture": b"<svg>"}, "expected a JPEG"),
            ({"x": np.array([1, np.nan, 2])}, "finite"),
        ):
            field = Field(**{**whole.__dict__, **changed})
            with pytest.raises(ValueError, match=match):
                field.as_plain(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345, "12,345"),
        (0.12345, "0.1235"),
        (np.nan, "–"),
        (None, "–"),
        (True, "yes"),
        ("<b>", "<b>"),
        (np.int64(3), "3"),
    ],
)
def test_cells(value: object, text: str):
    assert pages.cell(value) == text
