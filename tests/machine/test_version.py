"""The version is the same wherever it stands."""

import re

from tiny import ROOT

from machine.version import VERSION


def test_the_citation_and_the_changelog_have_the_version():
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == VERSION
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == VERSION


def test_the_readme_installs_the_version_of_pytorch_that_is_required():
    required = re.search(r"^torch==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    assert re.findall(r"torch==(\S+?)`", (ROOT / "README.md").read_text()) == [required]
