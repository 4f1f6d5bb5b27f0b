"""Pages in a browser: no errors, no requests, accessible, trees as in the figures."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import browsing
import made_pages
import numpy as np
import pandas
import pytest
from browsing import SCHEMES, WIDTHS, opened
from made_pages import HOSTILE
from tiny import draw_labels

import simulate_galaxies
from catalogue import answer_columns
from catalogue.columns import Choices
from galaxy import thumbnails
from galaxy.decision_tree import GALAXY_ZOO_2
from report import catalogue_page, training_page, tree_layout, tree_svg
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
            it.page.locator("#show-all").click()
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
        ids = it.page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
        assert len(ids) == len(set(ids))
        assert "undefined" not in it.page.inner_text("body")
        assert it.violations() == []
        it.page.emulate_media(media="print")
        assert it.violations() == []
        it.page.emulate_media(media="screen")


def test_hostile_text_stays_text(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        it.page.select_option("#show", "")
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
        it.page.select_option("#show", "")
        heading = it.page.locator('#rows th[data-key="column0"]')
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        falling = values(it, "column0")
        assert falling == sorted(falling, reverse=True) and len(falling) == 50
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert values(it, "column0") == sorted(values(it, "column0"))
        it.page.select_option("#answer", str(GALAXY_ZOO_2.column(10, 2)))
        it.page.locator("#next-page").click()
        it.page.locator("#next-page").click()
        everything = values(it, "answer")
        assert np.isnan(everything[-1])
        known = [value for value in everything if not np.isnan(value)]
        assert known == sorted(known, reverse=True)
        assert not np.isnan(everything[: len(known)]).any()


def test_numbers_in_names_sort_by_value(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        it.page.select_option("#show", "")
        it.page.fill("#find", "galaxy 1")
        it.page.locator('#rows th[data-key="name"] button').click()
        shown = names(it)
        numbers = [int(name.split()[1]) for name in shown]
        assert numbers == sorted(numbers) and 10 in numbers and 139 not in numbers


def count(it: browsing.Opened) -> int:
    return int(re.match(r"([\d,]+) of", it.page.locator("#count").text_content())[1])


def test_filters_select_the_rows_that_they_describe(browser: "Browser", catalogue: Path):
    _, _, votes = made_pages.catalogue(NUM_ROWS, choices=Choices(full=True))
    fractions, rows = answer_columns.conditional(votes, GALAXY_ZOO_2), np.arange(NUM_ROWS)
    read, far, cut = rows % 7 != 6, rows % 5 == 0, rows % 3 == 0
    trusted = read & ~far & ~cut
    with opened(browser, catalogue) as it:
        assert count(it) == trusted.sum()
        it.page.select_option("#answer", str(GALAXY_ZOO_2.column(1, 2)))
        it.page.locator("#least").fill("60")
        with np.errstate(invalid="ignore"):
            many = read & (fractions[:, GALAXY_ZOO_2.column(1, 2)] >= 0.6)
        assert count(it) == (many & trusted).sum()
        assert min(values(it, "answer")) >= 60
        for show, expected in (("32", far), ("8", cut), ("untrusted", far | cut), ("", read), ("none", ~far & ~cut)):
            it.page.select_option("#show", show)
            assert count(it) == (many & expected).sum()
        it.page.locator("#reset").click()
        it.page.wait_for_function(f"document.getElementById('count').textContent.startsWith('{trusted.sum()} ')")


def test_the_first_list_has_trusted_galaxies_and_counts_the_others(browser: "Browser", catalogue: Path):
    rows = np.arange(NUM_ROWS)
    read, doubtful = rows % 7 != 6, (rows % 5 == 0) | (rows % 3 == 0)
    trusted, untrusted = (read & ~doubtful).sum(), (read & doubtful).sum()
    with opened(browser, catalogue) as it:
        expected = f"{trusted} of {read.sum()} galaxies. Not shown: {untrusted} that cannot be trusted."
        assert it.page.locator("#count").text_content() == expected
        assert it.page.locator("p.note").first.text_content().startswith(f"{trusted} of {read.sum()} rows")
        it.page.locator("#show-all").click()
        assert count(it) == read.sum() and it.page.locator("#show-all").is_hidden()
        assert it.page.locator("#rows tbody tr.untrusted").count() == (read & doubtful)[:58].sum()  # of the first 50


def test_find_matches_whole_answers_and_parts_of_names(browser: "Browser", catalogue: Path):
    _, parts, _ = made_pages.catalogue(NUM_ROWS, choices=Choices(full=True))
    paths = [path for table in parts for path in table["most_likely_path"].to_pylist() if path]
    with opened(browser, catalogue) as it:
        it.page.select_option("#show", "")
        for answer in ("bar", "edge-on", "no bar", "Spiral"):
            it.page.fill("#find", answer)
            expected = sum(answer.lower() in path.split(", ") for path in paths)
            assert count(it) == expected
            assert expected < sum(answer.lower() in path for path in paths) or answer == "no bar"
        it.page.fill("#find", "alaxy 13")
        assert names(it) == [f"galaxy {n}" for n in range(130, 140) if n % 7 != 6]


def test_an_empty_list_says_why(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        told = it.page.locator("#count")
        it.page.fill("#find", "round")
        assert names(it) == []
        assert "No name contains “round”, and no galaxy has this answer." in told.text_content()
        assert re.search("Answers that contain it: .*completely round", told.text_content())
        it.page.fill("#find", "galaxy 10")
        it.page.select_option("#show", "untrusted")
        it.page.fill("#find", "galaxy 101")
        assert told.text_content().endswith(") .") or "match, but none is in “not trusted (" in told.text_content()
        it.page.fill("#find", "")
        it.page.select_option("#answer", str(GALAXY_ZOO_2.column(8, 2)))
        it.page.locator("#least").fill("100")
        assert "No galaxy has 100% of “lens or arc”." in told.text_content()


def test_the_map_shows_what_the_list_shows(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        marks, all_marks = it.page.locator(".mark:not(.filtered)"), it.page.locator(".mark").count()
        assert marks.count() == count(it) < all_marks
        assert it.page.locator(".mark.untrusted:visible").count() == 0
        it.page.select_option("#show", "untrusted")
        assert marks.count() == count(it) == it.page.locator(".mark.untrusted:visible").count()
        assert (
            it.page.locator(".mark.untrusted ellipse").first.evaluate("e => getComputedStyle(e).strokeDasharray")
            != "none"
        )
        legend = it.page.locator(".legend li").all_text_contents()
        assert sum(int(text.split(": ")[1]) for text in legend) == all_marks
        assert "Dashed: not trusted" in it.page.locator(".map figcaption").text_content()


def test_a_map_is_one_tab_stop_with_arrows_inside(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        assert it.page.locator('.mark[tabindex="0"]').count() == 1
        it.page.locator('.mark[tabindex="0"]').focus()
        where = "[document.activeElement.querySelector('ellipse').cx.baseVal.value, document.activeElement.dataset.row]"
        x, row = it.page.evaluate(where)
        it.page.keyboard.press("ArrowRight")
        further, other = it.page.evaluate(where)
        assert further > x and other != row and it.page.locator('.mark[tabindex="0"]').count() == 1
        it.page.keyboard.press("Tab")
        assert it.page.evaluate("document.activeElement.closest('.map')") is None


def test_a_touch_beside_a_small_mark_selects_it_and_zoom_separates_marks(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue, width=360) as it:
        mark = it.page.locator('.mark[tabindex="0"]')
        before = mark.bounding_box()["width"]
        for _ in range(3):
            it.page.get_by_role("button", name="Zoom in").click()
        assert mark.bounding_box()["width"] == pytest.approx(8 * before, rel=0.2)  # the stroke does not grow
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        assert box["width"] >= 24
        it.page.get_by_role("button", name="Zoom out").click()
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        it.page.mouse.click(box["x"] + box["width"] / 2 + 4, box["y"] + box["height"] / 2 + 4)
        assert it.page.locator("dialog#galaxy").is_visible()


def test_each_galaxy_has_an_address(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        it.page.locator("#rows tbody .name button").nth(2).click()
        name, link = (
            it.page.locator("#galaxy-name").text_content(),
            it.page.locator("#galaxy-name").get_attribute("href"),
        )
        assert link.startswith("#id=") and it.page.evaluate("location.hash") == link
        it.page.keyboard.press("Escape")
        while it.page.evaluate("location.hash") == link:  # the dialog tells that it is closed a moment later
            it.page.wait_for_timeout(10)
        it.page.evaluate(f"location.hash = {json.dumps(link)}")
        it.page.wait_for_selector("dialog[open]")
        assert it.page.locator("#galaxy-name").text_content() == name


def test_the_selection_is_saved_as_a_csv_of_ids(browser: "Browser", catalogue: Path, tmp_path: Path):
    with opened(browser, catalogue) as it:
        it.page.fill("#find", "galaxy 1")
        with it.page.expect_download() as saved:
            it.page.locator("#export").click()
        saved.value.save_as(tmp_path / "selection.csv")
        table = pandas.read_csv(tmp_path / "selection.csv", dtype=str)
        assert list(table) == ["id_str"] and table["id_str"].tolist() == names(it)
        assert saved.value.suggested_filename == "selection.csv"


def test_warnings_come_first_in_the_dialog(browser: "Browser", catalogue: Path):
    with opened(browser, catalogue) as it:
        it.page.select_option("#show", "32")
        it.page.locator("#rows tbody tr").first.click()
        note = it.page.locator("#galaxy-warnings")
        assert note.text_content().startswith("Do not trust these answersborder: ")
        assert "far: farther from the training images" in note.text_content()
        assert note.bounding_box()["y"] < it.page.locator("#galaxy-tree").bounding_box()["y"]


def test_answers_beyond_the_model_s_knowledge_are_marked_as_averages(browser: "Browser", tmp_path: Path):
    schema, parts, _ = made_pages.catalogue(7)
    built = catalogue_page.build(parts, schema)
    galaxies = replace(built.galaxies, known=(1, 2, 7), average="class average", paths=["features or disk"] * 6)
    pages.write(replace(built, galaxies=galaxies), tmp_path / "a.html")
    with opened(browser, tmp_path / "a.html") as it:
        it.page.locator("#rows tbody tr").first.click()
        captions = it.page.locator(".question caption").all_text_contents()
        assert [text.endswith("(class average)") for text in captions] == [n not in (1, 2, 7) for n in range(1, 12)]
        assert it.page.locator("#galaxy-tree path.likely").count() == 2  # the trunk and one answer


def test_without_scripts_the_field_and_the_mean_tree_are_visible(browser: "Browser", catalogue: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(catalogue.resolve().as_uri())
    assert page.locator(".map image").is_visible() and page.locator(".mark").count() > 100
    assert page.locator("#overview svg.tree").is_visible() and page.locator(".gallery .name").first.is_visible()
    assert not page.locator("#choices").is_visible() and "runs no scripts" in page.locator("noscript").inner_text()
    context.close()


@pytest.mark.parametrize("width", [900, 1200])
def test_wide_pages_and_prints_show_the_whole_tree(browser: "Browser", catalogue: Path, width: int):
    whole = "e => e.scrollWidth <= e.clientWidth + 1"
    with opened(browser, catalogue, width) as it:
        assert it.page.locator("#overview .scroll").evaluate(whole)
    with opened(browser, catalogue, 700, "dark") as it:
        it.page.emulate_media(media="print")
        assert it.page.locator("#overview .scroll").evaluate(whole)
        for hidden in ("#choices", ".tools", "#pages", "header nav"):
            assert not it.page.locator(hidden).first.is_visible()
        assert it.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_static_trees_equal_those_of_the_script(browser: "Browser", catalogue: Path):
    votes = draw_labels(1, np.random.default_rng(8))[0]
    with opened(browser, catalogue) as it:
        drawn = it.page.evaluate(
            "votes => { const tree = treeOf(JSON.parse(document.getElementById('data').textContent).layout);"
            " return [...tree.draw(votes, [0, 3], '', 'a').children].map(e => [e.tagName, e.getAttribute('class'),"
            " e.textContent, (e.getAttribute('d') || '').match(/-?[0-9.]+/g)?.map(Number) ?? []]); }",
            votes.tolist(),
        )
    ours = ElementTree.fromstring(str(tree_svg.draw(votes, GALAXY_ZOO_2, "a", [0, 3])))
    assert len(ours) == len(drawn)
    for element, (name, look, text, numbers) in zip(ours, drawn, strict=True):
        assert (element.tag, element.get("class").split(), element.text or "") == (name, look.split(), text)
        own = [float(each) for each in re.findall(r"-?[0-9.]+", element.get("d", ""))]
        np.testing.assert_allclose(own, numbers, atol=0.006)


def test_trees_equal_those_of_the_figure(browser: "Browser", catalogue: Path):
    rng = np.random.default_rng(8)
    galaxies = [*draw_labels(12, rng), np.zeros(37), np.full(37, 1 / 3)]
    with opened(browser, catalogue) as it:
        for votes in galaxies:
            script = (
                "([votes, path]) => treeOf(JSON.parse(document.getElementById('data').textContent).layout)"
                ".branches(votes, path)"
                ".map(b => [b.question.number, b.answer, b.width, b.fraction, b.likely, b.asked, b.points, b.ends])"
            )
            path = [GALAXY_ZOO_2.column(*step) for step in GALAXY_ZOO_2.likeliest_path(votes)]
            found = it.page.evaluate(script, [votes.tolist(), path])
            expected = tree_layout.branches(votes, GALAXY_ZOO_2)
            assert len(found) == len(expected)
            for theirs, ours in zip(found, expected, strict=True):
                number, answer, width, fraction, likely, asked, points, ends = theirs
                assert (number, answer, likely, ends) == (ours.question, ours.answer, ours.likely, ours.ends)
                np.testing.assert_allclose([width, asked], [ours.width, ours.asked], atol=1e-9)
                np.testing.assert_allclose(np.nan if fraction is None else fraction, ours.fraction, atol=1e-9)
                np.testing.assert_allclose(points, ours.points, atol=1e-6)


def test_paths_equal_those_of_the_catalogue(browser: "Browser", catalogue: Path):
    _, parts, _ = made_pages.catalogue(NUM_ROWS, choices=Choices(full=True))
    expected = [path for table in parts for path in table["most_likely_path"].to_pylist() if path]
    with opened(browser, catalogue) as it:
        it.page.select_option("#show", "")
        shown = it.page.locator('#rows tbody [data-key="path"]').all_text_contents()
    assert shown == expected[: len(shown)]


@pytest.mark.parametrize("number", [0, 1])
def test_pages_of_no_galaxy_and_of_one(browser: "Browser", tmp_path: Path, number: int):
    schema, parts, _ = made_pages.catalogue(number)
    pages.write(catalogue_page.build(parts, schema), tmp_path / "a.html")
    with opened(browser, tmp_path / "a.html") as it:
        it.page.select_option("#show", "")
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
    "sort by a text": "document.querySelector('#rows th[data-key=path] button').click()",
    "sort by an answer": "document.querySelector('#rows th[data-key=answer] button').click()",
    "filter": "find.value = 'spiral'; find.dispatchEvent(new Event('input'))",
    "open a galaxy": "document.querySelector('#rows tbody button').click()",
}


def test_a_page_of_5000_galaxies_can_be_used(browser: "Browser", tmp_path: Path, record_property):
    """Note the page's size and its times (milliseconds); no limit is set to times."""
    painted = [simulate_galaxies.simulate(simulate_galaxies.Survey(1), "train", index)[0] for index in range(48)]

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
