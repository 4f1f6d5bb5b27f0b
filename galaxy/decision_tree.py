"""The decision trees of Galaxy Zoo, and those of users: declared in a script, or read from a TOML file.

`GALAXY_ZOO_2` has the 11 questions and 37 answers of the Galaxy Challenge, and Kaggle's columns. The competition
publishes one number per answer: its fraction among the answers to its question, multiplied by the weighted fraction of
the answer that leads to the question. No other module contains a column number.

Sources: Willett et al. 2013 (arXiv 1308.3496), figure 1 and table 2; documentation of 2014, 2.2.2. Galaxy Zoo DECaLS:
Walmsley et al. 2022 (arXiv 2102.08414), figure 4, and the columns of zenodo.org/records/4573248. Galaxy Zoo DESI:
Walmsley et al. 2023 (arXiv 2309.11425), and its catalogue's columns. Euclid Q1: Walmsley et al. 2025 (arXiv
2503.15310), and the columns of zenodo.org/records/15106473.
"""

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from galaxy.tree import Question, Tree, from_plain
from machine.files import DataError, first_line, read_text

# Kaggle's table has six decimals: the sum of seven answers differs from its parent answer by at most 8 * 0.5e-6.
TOLERANCE = 1e-5
MAX_TOML_BYTES = 2**20

_BULGE_LABELS = ("none", "noticeable", "obvious", "dominant")
_GALAXY_ZOO_2 = (
    Question(
        "smooth-or-featured",
        "Is the galaxy simply smooth and rounded, with no sign of a disk?",
        ("smooth", "featured-or-disk", "artifact"),
        ("how-rounded", "disk-edge-on", None),
        words=("smooth", "features or disk", "star or artifact"),
        title="Smooth?",
        labels=("smooth", "features", "star"),
    ),
    Question(
        "disk-edge-on",
        "Could this be a disk viewed edge-on?",
        ("yes", "no"),
        ("bulge-shape", "bar"),
        words=("edge-on", "not edge-on"),
        title="Edge-on?",
    ),
    Question(
        "bar",
        "Is there a bar through the centre?",
        ("yes", "no"),
        ("has-spiral-arms", "has-spiral-arms"),
        words=("bar", "no bar"),
        title="Bar?",
    ),
    Question(
        "has-spiral-arms",
        "Is there any sign of a spiral arm pattern?",
        ("yes", "no"),
        ("spiral-winding", "bulge-size"),
        words=("spiral", "no spiral"),
        title="Spiral?",
    ),
    Question(
        "bulge-size",
        "How prominent is the central bulge?",
        ("no", "just-noticeable", "obvious", "dominant"),
        ("something-odd",) * 4,
        words=("no bulge", "bulge just noticeable", "bulge obvious", "bulge dominant"),
        title="Bulge?",
        labels=_BULGE_LABELS,
    ),
    # Asked at the end of every path except a star's. The competition's fractions sum to one for stars, too.
    Question(
        "something-odd",
        "Is there anything odd?",
        ("yes", "no"),
        ("odd-feature", None),
        words=("odd", "not odd"),
        title="Odd?",
        default="no",
        everyone=True,
    ),
    Question(
        "how-rounded",
        "How rounded is it?",
        ("round", "in-between", "cigar"),
        ("something-odd",) * 3,
        words=("completely round", "in between", "cigar-shaped"),
        title="Round?",
        labels=("round", "in between", "cigar-shaped"),
    ),
    Question(
        "odd-feature",
        "What is the odd feature?",
        ("ring", "lens-or-arc", "disturbed", "irregular", "other", "merger", "dust-lane"),
        title="What?",
        labels=("ring", "lens, arc", "disturbed", "irregular", "other", "merger", "dust lane"),
    ),
    Question(
        "bulge-shape",
        "Does the galaxy have a bulge at its centre?",
        ("round", "boxy", "no-bulge"),
        ("something-odd",) * 3,
        words=("rounded bulge", "boxy bulge", "no edge-on bulge"),
        title="Bulge?",
        labels=("rounded", "boxy", "no bulge"),
    ),
    Question(
        "spiral-winding",
        "How tightly wound are the spiral arms?",
        ("tight", "medium", "loose"),
        ("spiral-arm-count",) * 3,
        title="Tight?",
    ),
    Question(
        "spiral-arm-count",
        "How many spiral arms are there?",
        ("1", "2", "3", "4", "more-than-4", "cant-tell"),
        ("bulge-size",) * 6,
        words=("1 arm", "2 arms", "3 arms", "4 arms", "more than 4 arms", "can't tell"),
        title="Arms?",
        labels=("1 arm", "2 arms", "3 arms", "4 arms", "more", "can't tell"),
    ),
)
GALAXY_ZOO_2 = Tree(
    "gz2",
    _GALAXY_ZOO_2,
    columns=tuple(
        f"Class{n}.{answer}" for n, q in enumerate(_GALAXY_ZOO_2, 1) for answer in range(1, len(q.answers) + 1)
    ),
    weighted=True,
    project="gz2",
)


def _later(first: Question, after_bulge: str, *last: Question) -> tuple[Question, ...]:
    """Return the questions of Galaxy Zoo since 2015, which differ in the `first` and the `last` ones.

    `after_bulge` follows the size of the bulge, which ends the path of a disk that is not edge-on.
    """
    text = {question.name: question.text for question in _GALAXY_ZOO_2}
    words = {question.name: question.words for question in _GALAXY_ZOO_2}
    return (
        first,
        Question(
            "disk-edge-on",
            text["disk-edge-on"],
            ("yes", "no"),
            ("edge-on-bulge", "bar"),
            words["disk-edge-on"],
            "Edge-on?",
        ),
        Question(
            "has-spiral-arms",
            text["has-spiral-arms"],
            ("yes", "no"),
            ("spiral-winding", "bulge-size"),
            words["has-spiral-arms"],
            "Spiral?",
        ),
        Question(
            "bar",
            text["bar"],
            ("strong", "weak", "no"),
            ("has-spiral-arms",) * 3,
            ("strong bar", "weak bar", "no bar"),
            "Bar?",
        ),
        Question(
            "bulge-size",
            text["bulge-size"],
            ("dominant", "large", "moderate", "small", "none"),
            (after_bulge,) * 5,
            ("bulge dominant", "bulge large", "bulge moderate", "bulge small", "no bulge"),
            "Bulge?",
            ("dominant", "large", "moderate", "small", "none"),
        ),
        Question(
            "how-rounded",
            text["how-rounded"],
            ("round", "in-between", "cigar-shaped"),
            ("merging",) * 3,
            words["how-rounded"],
            "Round?",
            ("round", "in between", "cigar-shaped"),
        ),
        Question(
            "edge-on-bulge",
            text["bulge-shape"],
            ("boxy", "none", "rounded"),
            ("merging",) * 3,
            ("boxy bulge", "no edge-on bulge", "rounded bulge"),
            "Bulge?",
            ("boxy", "no bulge", "rounded"),
        ),
        Question(
            "spiral-winding",
            text["spiral-winding"],
            ("tight", "medium", "loose"),
            ("spiral-arm-count",) * 3,
            title="Tight?",
        ),
        dataclasses.replace(_GALAXY_ZOO_2[-1], leads_to=("bulge-size",) * 6),
        Question(
            "merging",
            "Is the galaxy merging or disturbed?",
            ("none", "minor-disturbance", "major-disturbance", "merger"),
            words=("not merging", "minor disturbance", "major disturbance", "merger"),
            title="Merging?",
            labels=("none", "minor", "major", "merger"),
            default="none",
        ),
        *last,
    )


def _first(artifact: str, word: str, leads_to: str | None = None) -> Question:
    return Question(
        "smooth-or-featured",
        "Is the galaxy simply smooth and rounded, or does it have features?",
        ("smooth", "featured-or-disk", artifact),
        ("how-rounded", "disk-edge-on", leads_to),
        ("smooth", "features or disk", word),
        "Smooth?",
        ("smooth", "features", artifact),
    )


# The campaign with DECaLS DR5 images; the tree of DESI (DR8 images) is the same.
GALAXY_ZOO_DECALS = Tree(
    "decals", _later(_first("artifact", "star or artifact"), "merging"), project="dr5", convention="desi"
)
GALAXY_ZOO_DESI = dataclasses.replace(GALAXY_ZOO_DECALS, name="desi", project="dr8")
GALAXY_ZOO_EUCLID = Tree(
    "euclid",
    _later(
        _first("problem", "problem", "problem"),
        "clumps",
        Question(
            "clumps",
            "Does the galaxy have clumps?",
            ("yes", "no"),
            ("merging",) * 2,
            ("clumps", "no clumps"),
            "Clumps?",
            default="no",
        ),
        Question(
            "problem",
            "What is the problem?",
            ("star", "artifact", "zoom"),
            (None, "artifact", None),
            ("star", "artifact", "bad zoom"),
        ),
        Question(
            "artifact",
            "What is the artifact?",
            ("satellite", "scattered", "diffraction", "ray", "saturation", "other", "ghost"),
            words=(
                *("satellite", "scattered light", "diffraction spike", "cosmic ray", "saturation"),
                *("other artifact", "ghost"),
            ),
        ),
    ),
    project="euclid",
    convention="euclid",
)
TREES = {tree.name: tree for tree in (GALAXY_ZOO_2, GALAXY_ZOO_DECALS, GALAXY_ZOO_DESI, GALAXY_ZOO_EUCLID)}


def CLASSES(names: Sequence[str], text: str = "Which class is it?") -> Tree:
    """Return a tree of one question: which of the classes is it?"""
    answers = tuple(re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") for name in names)
    return Tree("classes", (Question("class", text, answers, words=tuple(names)),))


def find_tree(name: str) -> Tree:
    """Return a tree by its name in TREES, or from a TOML file; raises DataError, in one line."""
    if name in TREES:
        return TREES[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise DataError(f"expected a tree of {', '.join(TREES)}, or a .toml file that declares one, got {name}")
    try:
        values = tomllib.loads(read_text(path, "name another file", MAX_TOML_BYTES))
    except (ValueError, RecursionError) as error:  # text that is no TOML is a ValueError
        raise DataError(f"{path} cannot be read as TOML ({first_line(error)}); correct it") from None
    try:
        return from_plain({"name": path.stem, **values})
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
