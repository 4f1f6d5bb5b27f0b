"""Pages in a browser: no errors, no requests, accessible, trees as in the figures."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import browsing
import made_pages
import numpy as np
import pytest
from browsing import SCHEMES, WIDTHS, opened
from made_pages import HOSTILE
from tiny import draw_labels

import simulate_galaxies
from catalogue import answer_columns
from catalogue.columns import Choices
from galaxy import thumbnails
from galaxy.decision_tree import column
from report import catalogue_page, training_page, tree_layout
from report import page as pages
from survey import folders

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(bool(browsing.MISSING), reason=f"without {', '.join(browsing.MISSING)}")
NUM_ROWS = 140


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with browsing.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a field with hostile names."""
    path = tmp_path_factory.mktemp("pages") / "field <b>.html"
    schema, parts, _ = made_pages.catalogue(NUM_ROWS, choices=Choices(full=True))
    pages.write(catalogue_page.build(parts, schema, made_pages.pictures, (), [made_pages.field(NUM_ROWS)]), path)
    return path


def names(opened: browsing.Opened) -> list[str]:
    return opened.page.locator("#rows tbody .name").all_text_contents()


def values(opened: browsing.Opened, key: str) -> list[float]:
    texts = opened.page.locator(f'#rows tbody [data-key="{key}"]').all_text_contents()
    return [np.nan if text == "–" else float(text.rstrip("%")) for text in texts]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
class TestEverywhere:
    def test_a_catalogue(self, browser: "Browser", catalogue: Path, width: int, scheme: str):
        with opened(browser, catalogue, width, scheme) as it:
            self.look(it, width)
            it.page.locator("#rows tbody .name button").nth(1).click()
            assert it.page.locator("dialog#galaxy svg.tree").is_visible()
            assert it.violations() == []
            it.page.keyboard.press("Escape")
            it.page.locator(".mark").nth(3).focus()
            it.page.keyboard.press("Enter")
            assert it.page.locator("#galaxy-name").text_content() == HOSTILE[3]
            assert (it.said, it.asked) == ([], [])

    def test_a_training_root(self, browser: "Browser", prepared_survey, width: int, scheme: str):
        made_pages.write_results(folders.current)
        path = prepared_survey.root / "report.html"
        pages.write(training_page.build(folders.current), path)
        with opened(browser, path, width, scheme) as it:
            for fold in it.page.locator("summary").all():
                fold.click()
            self.look(it, width)
            it.page.locator(".gallery button").first.click()
            assert "volunteers" in it.page.locator("#galaxy-answers").text_content()
            assert it.violations() == []
            assert (it.said, it.asked) == ([], [])

    def look(self, it: browsing.Opened, width: int) -> None:
        assert it.page.evaluate("document.documentElement.scrollWidth") <= width
        assert it.violations() == []


def test_hostile_text_stays_text(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        shown = names(it)
        for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3]):
            assert name in shown
        assert it.page.locator("#rows tbody b, #rows tbody script, h1 script, [onerror]").count() == 0
        assert it.page.title() == HOSTILE[0]
        assert it.page.evaluate("document.querySelectorAll('script').length") == 2
        # The policy forbids any other script.
        it.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))"
        )
        assert it.page.title() == HOSTILE[0]


def test_sorting_puts_unknown_values_last(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        heading = it.page.locator('#rows th[data-key="column0"]')
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        falling = values(it, "column0")
        assert falling == sorted(falling, reverse=True) and len(falling) == 50
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert values(it, "column0") == sorted(values(it, "column0"))
        it.page.select_option("#answer", str(column(10, 2)))
        it.page.locator("#later").click()
        it.page.locator("#later").click()
        everything = values(it, "answer")
        assert np.isnan(everything[-1])
        known = [value for value in everything if not np.isnan(value)]
        assert known == sorted(known, reverse=True)
        assert not np.isnan(everything[: len(known)]).any()


def test_numbers_in_names_sort_by_value(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        it.page.fill("#find", "galaxy 1")
        it.page.locator('#rows th[data-key="name"] button').click()
        shown = names(it)
        numbers = [int(name.split()[1]) for name in shown]
        assert numbers == sorted(numbers) and 10 in numbers and 139 not in numbers


def test_filters_select_the_rows_that_they_describe(browser: "Browser", catalogue: Path):
    _, _, votes = made_pages.catalogue(NUM_ROWS, choices=Choices(full=True))
    fractions, read = answer_columns.conditional(votes), np.arange(NUM_ROWS) % 7 != 6
    with opened(browser, catalogue) as it:

        def count() -> int:
            return int(re.match(r"([\d,]+) of", it.page.locator("#told").text_content())[1])

        assert count() == read.sum()
        it.page.select_option("#answer", str(column(1, 2)))
        it.page.locator("#least").fill("60")
        with np.errstate(invalid="ignore"):
            assert count() == (read & (fractions[:, column(1, 2)] >= 0.6)).sum()
        assert min(values(it, "answer")) >= 60
        it.page.select_option("#flag", "32")
        assert count() == (read & (fractions[:, column(1, 2)] >= 0.6) & (np.arange(NUM_ROWS) % 5 == 0)).sum()
        it.page.locator("#reset").click()
        it.page.wait_for_function(f"document.getElementById('told').textContent.startsWith('{read.sum()} ')")
        it.page.fill("#find", "no such galaxy")
        assert count() == 0 and names(it) == []


def test_trees_equal_those_of_the_figure(browser: "Browser", catalogue: Path):
    rng = np.random.default_rng(8)
    galaxies = [*draw_labels(12, rng), np.zeros(37), np.full(37, 1 / 3)]
    with opened(browser, catalogue) as it:
        for votes in galaxies:
            script = (
                "votes => treeOf(JSON.parse(document.getElementById('data').textContent).layout).branches(votes).map("
                "b => [b.question.number, b.answer, b.width, b.fraction, b.likely, b.asked, b.points, b.ends])"
            )
            found = it.page.evaluate(script, votes.tolist())
            expected = tree_layout.branches(votes)
            assert len(found) == len(expected)
            for theirs, ours in zip(found, expected, strict=True):
                number, answer, width, fraction, likely, asked, points, ends = theirs
                assert (number, answer, likely, ends) == (ours.question, ours.answer, ours.likely, ours.ends)
                np.testing.assert_allclose([width, asked], [ours.width, ours.asked], atol=1e-9)
                np.testing.assert_allclose(np.nan if fraction is None else fraction, ours.fraction, atol=1e-9)
                np.testing.assert_allclose(points, ours.points, atol=1e-6)


def test_paths_equal_those_of_the_catalogue(browser: "Browser", catalogue: Path):
    _, parts, _ = made_pages.catalogue(NUM_ROWS, choices=Choices(full=True))
    expected = [way for table in parts for way in table["most_likely_path"].to_pylist() if way]
    with opened(browser, catalogue) as it:
        shown = it.page.locator('#rows tbody [data-key="way"]').all_text_contents()
    assert shown == expected[: len(shown)]


@pytest.mark.parametrize("number", [0, 1])
def test_pages_of_no_galaxy_and_of_one(browser: "Browser", tmp_path: Path, number: int):
    schema, parts, _ = made_pages.catalogue(number)
    pages.write(catalogue_page.build(parts, schema), tmp_path / "a.html")
    with opened(browser, tmp_path / "a.html") as it:
        assert len(names(it)) == number
        assert (it.said, it.asked, it.violations()) == ([], [], [])


def test_arrows_lead_to_the_neighbouring_galaxy(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        shown = names(it)
        it.page.locator("#rows tbody tr").nth(4).click()
        assert it.page.locator("#galaxy-name").text_content() == shown[4]
        it.page.locator("#next").click()
        assert it.page.locator("#galaxy-name").text_content() == shown[5]
        it.page.keyboard.press("ArrowLeft")
        assert it.page.locator("#galaxy-name").text_content() == shown[4]
        it.page.locator("#close").click()
        assert not it.page.locator("dialog#galaxy").is_visible()


# Milliseconds from an action to the frame after the one in which it was carried out.
TIMED = """async action => {
    const begun = performance.now();
    action();
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - begun;
}"""
ACTIONS = {
    "sort by a number": "document.querySelector('#rows th[data-key=column0] button').click()",
    "sort by a text": "document.querySelector('#rows th[data-key=way] button').click()",
    "sort by an answer": "document.querySelector('#rows th[data-key=answer] button').click()",
    "filter": "find.value = 'spiral'; find.dispatchEvent(new Event('input'))",
    "open a galaxy": "document.querySelector('#rows tbody button').click()",
}


def test_a_page_of_5000_galaxies_can_be_used(browser: "Browser", tmp_path: Path, record_property):
    """Note the page's size and its times (milliseconds); no limit is set to times."""
    painted = [simulate_galaxies.simulate(1, "train", index)[0] for index in range(48)]

    def pictures(rows: list[int]) -> list[bytes | None]:
        most = thumbnails.share(len(rows))
        coded = [thumbnails.encode(thumbnails.middle(pixels), most) for pixels in painted]
        return [coded[row % len(coded)] for row in rows]

    # Every seventh row is an image that cannot be read.
    schema, parts, _ = made_pages.catalogue(5000 * 7 // 6 + 1, choices=Choices(full=True))
    path = tmp_path / "large.html"
    pages.write(catalogue_page.build(parts, schema, pictures), path)
    record_property("MB", path.stat().st_size / 1e6)
    assert path.stat().st_size < 15e6
    with opened(browser, path) as it:
        # Not wait_for_function, which evaluates a text within the page: its content security policy forbids that.
        while not it.page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
            it.page.wait_for_timeout(20)
        for name, value in {
            "first paint": "performance.getEntriesByName('first-contentful-paint')[0].startTime",
            "ready": "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd",
        }.items():
            record_property(name, it.page.evaluate(value))
        for name, action in ACTIONS.items():
            script = f"({TIMED})(() => {{ const find = document.getElementById('find'); {action} }})"
            record_property(name, it.page.evaluate(script))
        assert it.page.locator("dialog#galaxy").is_visible()
        assert (it.said, it.asked) == ([], [])
