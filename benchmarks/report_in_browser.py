"""Look at pages in a headless Chromium: what they say, ask for and keep from people, and how long they take.

    python benchmarks/report_in_browser.py                              # a made-up catalogue of 5,000 galaxies
    python benchmarks/report_in_browser.py report.html --pictures DIR   # any page, with pictures of it

At three widths, light and dark: console messages, requests, axe-core's violations; then times, medians: first paint
after the page was asked for; sorting, filtering and opening a galaxy until the next frame is drawn. It takes a Chromium
(apt-get install chromium) and requirements-bench.txt.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import browsing
import made_pages
from browsing import SCHEMES, WIDTHS, opened

import simulate_galaxies
from catalogue.columns import Choices
from galaxy import thumbnails
from machine.command_line import positive_int, run_script
from machine.files import DataError
from report import catalogue_page, page

# Different galaxies, which a larger page repeats: no picture costs less for having been seen.
NUM_PAINTED = 48
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


def make_page(path: Path, num_galaxies: int) -> None:
    """Write the page of a made-up catalogue with simulated pictures, of full tables."""
    painted = [simulate_galaxies.simulate(1, "train", number)[0] for number in range(NUM_PAINTED)]

    def pictures(rows: list[int]) -> list[bytes | None]:
        most = thumbnails.share(len(rows))
        coded = [thumbnails.encode(thumbnails.middle(pixels), most) for pixels in painted]
        return [coded[row % len(coded)] for row in rows]

    # Every seventh row can not be read.
    schema, parts, _ = made_pages.catalogue(num_galaxies * 7 // 6 + 1, choices=Choices(full=True))
    page.write(catalogue_page.build(parts, schema, pictures), path)


def look(browser: object, path: Path, pictures: Path | None) -> int:
    """Print what is wrong with a page at each width, light and dark; return how much."""
    wrong = 0
    for scheme in SCHEMES:
        for width in WIDTHS:
            with opened(browser, path, width, scheme) as it:
                over = it.page.evaluate("document.documentElement.scrollWidth") - width
                found = it.said + it.asked + it.violations() + ([f"{over} pixels too wide"] if over > 0 else [])
                if pictures:
                    pictures.mkdir(parents=True, exist_ok=True)
                    it.page.screenshot(path=pictures / f"{path.stem}-{scheme}-{width}.png", full_page=True)
                first = it.page.locator("#rows tbody button").first
                if first.count():
                    first.click()
                    found += it.said + it.violations()
                    if pictures:
                        it.page.screenshot(path=pictures / f"{path.stem}-{scheme}-{width}-galaxy.png")
            wrong += len(found)
            print(f"{scheme:5} {width:5}  {'nothing to object to' if not found else '; '.join(found)}")
    return wrong


def measure(browser: object, path: Path, repeats: int) -> dict[str, float]:
    """Return medians of milliseconds."""
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        with opened(browser, path) as it:
            # Not wait_for_function, which evaluates a text within the page: its content security policy forbids that.
            while not it.page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
                it.page.wait_for_timeout(20)
            entry = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            times.setdefault("first paint", []).append(it.page.evaluate(entry))
            ready = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            times.setdefault("ready", []).append(it.page.evaluate(ready))
            if it.page.locator("#rows tbody button").count():
                for name, action in ACTIONS.items():
                    times.setdefault(name, []).append(
                        it.page.evaluate(
                            f"({TIMED})(() => {{ const find = document.getElementById('find'); {action} }})"
                        )
                    )
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, metavar="HTML", help="default: one that is made up")
    parser.add_argument("--galaxies", type=positive_int, default=5000, metavar="N", help="of it (default: 5000)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="for pictures of the pages")
    parser.add_argument("--repeats", type=positive_int, default=5, metavar="N", help="of each time (default: 5)")
    args = parser.parse_args()
    if browsing.MISSING:
        raise DataError(f"expected {', '.join(browsing.MISSING)}; install what is missing (requirements-bench.txt)")
    with tempfile.TemporaryDirectory() as folder, browsing.chromium() as browser:
        if not args.pages:
            made = Path(folder) / "made_up.html"
            make_page(made, args.galaxies)
        wrong = 0
        for path in args.pages or [made]:
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
            wrong += look(browser, path, args.pictures)
            for name, value in measure(browser, path, args.repeats).items():
                print(f"{name:18} {value:7.0f} ms")
        if wrong:
            raise DataError(f"{wrong} things to object to")


if __name__ == "__main__":
    run_script(main)
