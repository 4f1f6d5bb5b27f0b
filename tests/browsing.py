"""Chromium without a window, for tests and measurements of pages; what needs it is skipped where it is not found.

Debian's chromium (or what CHROMIUM names), driven by playwright; axe-core, from axe-playwright-python, looks for what
keeps people out. Neither is needed by anything else (requirements-bench.txt).
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
MISSING = [
    *(["a Chromium (apt-get install chromium)"] if CHROMIUM is None else []),
    *(name for name in ("playwright", "axe_playwright_python") if find_spec(name) is None),
]
WIDTHS = (360, 900, 1600)
SCHEMES = ("light", "dark")


@dataclass
class Opened:
    """A page that is open, what its console said, and what it asked for beside itself."""

    page: "Page"
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Return what axe-core objects to."""
        from axe_playwright_python.sync_playwright import Axe

        return [
            f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for each in Axe().run(self.page).response["violations"]
            for node in each["nodes"]
        ]


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """Yield a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A sandbox within a container needs rights that few have; the pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: "Browser", path: Path, width: int = 1440, scheme: str = "light") -> Iterator[Opened]:
    """Yield a page from a file, at a width in pixels."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(300_000)  # milliseconds: a machine may be busy
    found = Opened(page)
    page.on("console", lambda message: found.said.append(message.text))
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("dialog", lambda dialog: (found.said.append(dialog.message), dialog.dismiss()))
    address = path.resolve().as_uri()
    page.on("request", lambda each: each.url.startswith(("data:", address)) or found.asked.append(each.url))
    try:
        page.goto(address)
        yield found
    finally:
        page.close()
