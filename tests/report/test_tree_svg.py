"""The tree as an element of a page; `test_in_browser.py` compares it with the script's."""

from xml.etree import ElementTree

import numpy as np
from tiny import draw_labels

from galaxy.decision_tree import GALAXY_ZOO_2
from report import tree_svg
from report.tree_layout import layout_of

LAYOUTS = layout_of(GALAXY_ZOO_2).questions
VOTES = draw_labels(1, np.random.default_rng(2))[0]


def test_a_tree_has_a_trunk_a_branch_per_answer_and_a_bar_per_question():
    svg = ElementTree.fromstring(str(tree_svg.draw(VOTES, GALAXY_ZOO_2, "Mean votes")))
    assert len(svg.findall("path")) == 1 + len(GALAXY_ZOO_2.words)
    assert len([bar for bar in svg.findall("rect") if bar.get("class").startswith("bar")]) == len(LAYOUTS)
    titles = [text.text for text in svg.findall("text") if text.get("class") == "title"]
    assert titles == [layout.title for layout in LAYOUTS.values()] and svg.get("aria-label") == "Mean votes"


def test_the_answers_of_a_path_and_the_trunk_are_marked():
    for path, number in (([], 1), ([GALAXY_ZOO_2.column(1, 2), GALAXY_ZOO_2.column(2, 1)], 3)):
        svg = ElementTree.fromstring(str(tree_svg.draw(VOTES, GALAXY_ZOO_2, "a", path)))
        assert [each.get("class") for each in svg.findall("path")].count("likely") == number


def test_labels_are_escaped():
    text = str(tree_svg.draw(VOTES, GALAXY_ZOO_2, '"><script>alert(1)</script>'))
    assert "<script" not in text
    assert ElementTree.fromstring(text).get("aria-label") == '"><script>alert(1)</script>'
