"""A page is one file: text is escaped, nothing is loaded, its size is bounded."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import made_pages
import numpy as np
import pytest
from made_pages import HOSTILE

from galaxy import thumbnails
from galaxy.decision_tree import GALAXY_ZOO_2
from report import page as pages
from report.galaxies import MAX_COLUMNS, MAX_FIELD_BYTES, MAX_ROWS, SCALE, Column, Field, Galaxies
from report.page import Bars, Facts, Figure, Gallery, Page, Section, Table, Tree


class Reader(HTMLParser):
    """Elements, attributes and texts of a page, parsed as by a browser."""

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
    """Return a page in which every text is hostile."""
    bad = "".join(HOSTILE[:4])
    votes = np.full((len(HOSTILE), 37), np.nan)
    votes[1:] = 0.25
    galaxies = Galaxies(
        GALAXY_ZOO_2,
        HOSTILE,
        votes,
        made_pages.pictures(range(len(HOSTILE))),
        ["", "smooth", *["smooth, in between"] * (len(HOSTILE) - 2)],
        columns=[Column(bad, HOSTILE, help=bad), Column("numbers", np.array([np.nan, np.inf, -np.inf, 0, 1, 2, 3]))],
        flags=np.arange(len(HOSTILE)),
        flag_words={1: bad},
        path_title=bad,
        average=bad,
        interval=bad,
        untrusted=2,
        fields=[made_pages.field(len(HOSTILE))],
    )
    shown = [
        Facts([(bad, bad), ("nothing", None), ("unknown", np.nan)]),
        Table(bad, (bad, bad), [(bad, bad), (1, np.float32(2.5))]),
        Bars(bad, [(bad, 3), ("none", 0)]),
        Bars("nothing", []),
        Figure(b"<svg/>", b"<svg/>", bad, bad),
        Tree(votes[1], GALAXY_ZOO_2, bad, bad),
        Gallery([0, 1], [bad, "b"]),
    ]
    section = Section("a", bad, shown, bad)
    return Page(bad, bad, [section], galaxies, bad, [Section("b", bad, [], folded=True)], notes=[bad])


@pytest.fixture(scope="module")
def text() -> str:
    return pages.render(hostile_page())


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_hostile_text_is_escaped(text: str):
    reader = Reader(text)
    expected = Reader(pages.render(Page("a", "b", [])))
    own = "section h2 p dl div dt dd table caption thead tbody tr th td svg rect figure picture source img figcaption"
    own += " ul li button details summary form label input output select span a path text image ellipse g datalist nav"
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
    assert set(addresses) == {"http://www.w3.org/2000/svg"}, "the XML name of SVG is not a request"
    assert not re.search(
        r"@import|url\(|innerHTML|insertAdjacentHTML|document\.write|\beval\b|fetch\(|XMLHttp|import\(", own
    )


def test_the_policy_contains_the_checksums_of_style_and_script(text: str):
    [policy] = [a["content"] for n, a in Reader(text).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for name, found in (
        ("style-src", re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]),
        ("script-src", re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]),
    ):
        checksum = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        assert f"{name} 'sha256-{checksum}'" in policy
    assert "unsafe" not in policy and ' style="' not in text


def test_unknown_numbers_are_null(text: str):
    galaxies = data_of(text)["galaxies"]
    assert galaxies["columns"][1]["values"] == [None, None, None, 0, 1, 2, 3]
    assert galaxies["votes"][:37] == [-1] * 37 and galaxies["votes"][37] == SCALE // 4


def test_the_largest_page_is_below_15_megabytes():
    room = thumbnails.share(MAX_ROWS)
    fractions = np.random.default_rng(1).uniform(0, 1, (MAX_ROWS, 37))
    marks = np.full(MAX_ROWS, 12345.6)
    galaxies = Galaxies(
        GALAXY_ZOO_2,
        ["<" * 900] * MAX_ROWS,
        fractions,
        [b"RIFF" + bytes(range(256)) * (room // 256)] * MAX_ROWS,
        ["features or disk, not edge-on, no bar, spiral, medium, can't tell, bulge just noticeable, odd, ring"]
        * MAX_ROWS,
        columns=[Column("a", ["\U0001f30c" * 900] * MAX_ROWS) for _ in range(MAX_COLUMNS // 2)]
        + [Column("b", fractions[:, 0] * 1e5, 5) for _ in range(MAX_COLUMNS // 2)],
        spreads=dict.fromkeys(("transforms", "models", "low68", "high68"), fractions),
        flags=np.full(MAX_ROWS, 63),
        flag_words={1: "one"},
        fields=[
            Field(
                b"\xff\xd8\xff" + bytes(MAX_FIELD_BYTES - 3),
                99999,
                99999,
                *[marks] * 5,
                np.arange(MAX_ROWS),
                np.array(["spiral"] * MAX_ROWS),
            )
        ],
    )
    assert len(pages.render(Page("a", "b", [], galaxies)).encode()) < 15_000_000


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
def test_cells_are_formatted(value: object, text: str):
    assert pages.cell(value) == text
