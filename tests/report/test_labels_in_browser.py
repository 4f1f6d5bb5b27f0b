"""Labels by key in a browser: the ranking is that of the command, and no label is lost or invented."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import browsing
import made_pages
import numpy as np
import pandas
import pytest
from browsing import Opened, opened

import simulate_galaxies
from catalogue import label_fit
from catalogue.label_tables import read_labels
from galaxy import thumbnails
from report import catalogue_page
from report import page as pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(bool(browsing.MISSING), reason=f"needs {', '.join(browsing.MISSING)}")
NUM_ROWS = 120
TIMED = """() => {
    const begun = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "1", bubbles: true }));
    document.getElementById("queue").getBoundingClientRect();
    return performance.now() - begun;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with browsing.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def made() -> tuple:
    schema, parts, _ = made_pages.catalogue(NUM_ROWS)
    return made_pages.with_features(schema, parts)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, made: tuple) -> Path:
    path = tmp_path_factory.mktemp("pages") / "labels.html"
    pages.write(catalogue_page.build(made[1], made[0], made_pages.pictures), path)
    return path


def saved(it: Opened, path: Path) -> pandas.DataFrame:
    """Save the labels and return them as they are read."""
    with it.page.expect_download() as download:
        it.page.locator("#save-labels").click()
    download.value.save_as(path)
    return pandas.read_csv(path, dtype=str, keep_default_na=False)


def press(it: Opened, keys: str) -> list[tuple[str, str]]:
    """Press keys, one after the other; return the galaxy and the key of each."""
    pressed = []
    for key in keys:
        pressed.append((it.page.locator("#stage-name").text_content(), key))
        it.page.keyboard.press(key)
    return pressed


def test_saved_labels_equal_the_keys_pressed(browser: "Browser", labelled: Path, tmp_path: Path):
    with opened(browser, labelled) as it:
        it.page.fill("#label-name-1", 'ring, "odd"')
        it.page.fill("#label-name-3", "merger")
        it.page.locator("#queue button").nth(9).click()
        pressed = press(it, "12213")
        press(it, "1")
        it.page.keyboard.press("u")  # the label before is taken back
        press(it, "0")
        press(it, "5")  # no label has this key
        pressed += press(it, "2")
        it.page.fill("#find", "1")  # keys in an input are text
        table = saved(it, tmp_path / "labels.csv")
        titles = {"1": 'ring, "odd"', "2": "other", "3": "merger"}
        assert list(table) == ["id_str", "file_loc", "label", "time"]
        assert list(zip(table["id_str"], table["label"], strict=True)) == [(name, titles[key]) for name, key in pressed]
        assert table["time"].is_monotonic_increasing and table["time"].str.endswith("Z").all()
        assert read_labels(tmp_path / "labels.csv").wanted() == 'ring, "odd"'
        # A reload keeps them; loading them into an empty page gives them again.
        it.page.reload()
        pandas.testing.assert_frame_equal(saved(it, tmp_path / "again.csv"), table)
        it.page.locator("#delete-labels").click()
        it.page.reload()
        assert it.page.locator("#save-labels").is_disabled()
        it.page.set_input_files("#load-labels", tmp_path / "labels.csv")
        it.page.wait_for_selector("#save-labels:not([disabled])")
        pandas.testing.assert_frame_equal(saved(it, tmp_path / "again.csv"), table)
        it.page.locator("#delete-labels").click()
        assert (it.said, it.asked, it.violations()) == ([], [], [])


def test_the_ranking_is_that_of_the_command(browser: "Browser", labelled: Path, made: tuple):
    with opened(browser, labelled) as it:
        rare = it.page.evaluate("JSON.parse(document.getElementById('data').textContent).galaxies.rare")
        features = np.concatenate([np.stack(table["features"].to_pylist()) for table in made[1]])
        features = features[features[:, 0] != -128].astype(np.int8)
        wanted = np.arange(40) % 10 == 3
        expected = label_fit.fit(features[:40], wanted)
        script = f"""() => {{
            const rare = JSON.parse(document.getElementById('data').textContent).galaxies.rare;
            const bytes = Uint8Array.from(atob(rare.features), c => c.charCodeAt(0));
            const ranking = labelFitOf(new Int8Array(bytes.buffer), rare.size, rare.scale);
            const rows = {json.dumps(wanted.tolist())}.map((is, n) => [is, n]);
            const of = wanted => rows.filter(([is]) => is === wanted).map(([, n]) => n);
            return [...ranking.scores(ranking.fit(of(true), of(false)))];
        }}"""
        np.testing.assert_allclose(it.page.evaluate(script), expected.scores(features), atol=1e-6)
        assert rare["scale"] == 24 and len(rare["ids"]) == len(features)
        # More like this: the nearest by distance.
        it.page.locator("#rows tbody tr").nth(5).click()
        name = it.page.locator("#galaxy-name").text_content()
        it.page.locator("#galaxy-like").click()
        row = rare["ids"].index(name)
        order = np.argsort(((features.astype(int) - features[row]) ** 2).sum(axis=1), kind="stable")[1:25]
        shown = [it.page.locator("#stage-name").text_content(), *it.page.locator("#queue .name").all_text_contents()]
        assert shown[:24] == [rare["ids"][n] for n in order]


def test_hostile_storage_and_tables_change_nothing(browser: "Browser", labelled: Path, tmp_path: Path):
    with opened(browser, labelled) as it:
        press(it, "12")
        before = saved(it, tmp_path / "a.csv")
        for text, message in {
            'id_str,label\n"x,1\n': "a quote is not closed",
            "name,class\n1,2\n": "expected the columns",
            "id_str,label\n1,\n": "row 1 has no label",
            "id_str,label\n" + "".join(f"{n},label {n}\n" for n in range(12)): "more than nine labels",
            f"id_str,label\n1,{'x' * 100}\n": "more than 60 characters",
        }.items():
            (tmp_path / "b.csv").write_text(text)
            it.page.set_input_files("#load-labels", tmp_path / "b.csv")
            it.page.wait_for_function(
                "text => document.getElementById('label-fault').textContent.includes(text)", arg=message
            )
            pandas.testing.assert_frame_equal(saved(it, tmp_path / "c.csv"), before)
        # Labels of galaxies that the page does not show are kept.
        (tmp_path / "b.csv").write_text('id_str,file_loc,label,time\n"<img src=x onerror=alert(1)>",,other,\n')
        it.page.set_input_files("#load-labels", tmp_path / "b.csv")
        it.page.wait_for_selector("#label-fault:has-text('does not show')")
        assert saved(it, tmp_path / "c.csv")["id_str"].tolist()[-1] == "<img src=x onerror=alert(1)>"
        key = it.page.evaluate("Object.keys(localStorage).find(key => key.startsWith('galaxy-labels:'))")
        for text in (
            "{",
            "null",
            '{"labels": 3, "titles": [1]}',
            '{"labels": [null, {"id": 1}, {"id": "a", "label": 99}]}',
        ):
            it.page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, text])
            it.page.reload()
            assert it.page.locator("#save-labels").is_disabled() and it.page.locator("#stage").is_visible()
        it.page.evaluate("localStorage.clear()")
        assert (it.said, it.asked) == ([], [])


def test_a_page_of_20000_galaxies_can_be_labelled(browser: "Browser", tmp_path: Path, record_property):
    """Note the page's size and its times (milliseconds); no limit is set to times."""
    painted = [simulate_galaxies.simulate(simulate_galaxies.Survey(1), "train", index)[0] for index in range(8)]
    coded = [thumbnails.encode(thumbnails.middle(each), thumbnails.share(20_000, 20_000)) for each in painted]
    schema, parts, _ = made_pages.catalogue(20_001 * 7 // 6 + 700)
    schema, parts = made_pages.with_features(schema, parts, 64)
    path = tmp_path / "large.html"
    pages.write(catalogue_page.build(parts, schema, lambda rows: [coded[row % 8] for row in rows]), path)
    record_property("MB", path.stat().st_size / 1e6)
    assert path.stat().st_size < 40e6
    with opened(browser, path) as it:
        while not it.page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
            it.page.wait_for_timeout(20)
        first = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        record_property("first paint", it.page.evaluate(first))
        assert "20,000 of 20," in it.page.locator("#rare").text_content()
        it.page.locator("#queue button").nth(3).click()
        press(it, "1212221222")
        times = [it.page.evaluate(TIMED) for _ in range(5)]
        record_property("label to ranking", sorted(times)[2])
        assert "15 labels; 19,985 galaxies to go." in it.page.locator("#label-count").text_content()
        it.page.evaluate("localStorage.clear()")
        assert (it.said, it.asked) == ([], [])
