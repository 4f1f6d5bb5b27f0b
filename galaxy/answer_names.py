"""Names of the 37 answers in Galaxy Zoo 2's tables, beside Kaggle's `Class1.1`.

Two schemes are in use: that of the published table, `t01_smooth_or_features_a01_smooth_fraction` (Willett et al. 2013,
table 5), and that of later projects and their tools, `smooth-or-featured_smooth_fraction`.
"""

import re

from galaxy.decision_tree import COLUMN_NAMES

# The name of each question, and those of its answers in the order of the tree. Names after a bar are read, but never
# written.
_MODERN = {
    1: ("smooth-or-featured", "smooth", "featured-or-disk|features-or-disk", "artifact|star-or-artifact"),
    2: ("disk-edge-on", "yes", "no"),
    3: ("bar", "yes", "no"),
    4: ("has-spiral-arms", "yes", "no"),
    5: ("bulge-size", "no|none", "just-noticeable", "obvious", "dominant"),
    6: ("something-odd", "yes", "no"),
    7: ("how-rounded", "round|completely-round", "in-between", "cigar|cigar-shaped"),
    8: ("odd-feature", "ring", "lens-or-arc|lens", "disturbed", "irregular", "other", "merger", "dust-lane"),
    9: ("bulge-shape", "round|rounded", "boxy", "no-bulge|none"),
    10: ("spiral-winding", "tight", "medium", "loose"),
    11: ("spiral-arm-count", "1", "2", "3", "4", "more-than-4", "cant-tell"),
}
_PUBLISHED = {
    1: ("smooth_or_features", "a01_smooth", "a02_features_or_disk", "a03_star_or_artifact"),
    2: ("edgeon", "a04_yes", "a05_no"),
    3: ("bar", "a06_bar", "a07_no_bar"),
    4: ("spiral", "a08_spiral", "a09_no_spiral"),
    5: ("bulge_prominence", "a10_no_bulge", "a11_just_noticeable", "a12_obvious", "a13_dominant"),
    6: ("odd", "a14_yes", "a15_no"),
    7: ("rounded", "a16_completely_round", "a17_in_between", "a18_cigar_shaped"),
    8: (
        "odd_feature",
        *("a19_ring", "a20_lens_or_arc", "a21_disturbed", "a22_irregular", "a23_other", "a24_merger", "a38_dust_lane"),
    ),
    9: ("bulge_shape", "a25_rounded", "a26_boxy", "a27_no_bulge"),
    10: ("arms_winding", "a28_tight", "a29_medium", "a30_loose"),
    11: ("arms_number", "a31_1", "a32_2", "a33_3", "a34_4", "a36_more_than_4", "a37_cant_tell"),
}


def simplified(name: str) -> str:
    """Return a column's name in lower case, digits and underscores: `Class1.1` and `class1_1` become equal."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


# `smooth-or-featured_smooth` and so on, in the order of the columns.
NAMES: tuple[str, ...] = tuple(
    f"{question}_{answer.partition('|')[0]}" for question, *answers in _MODERN.values() for answer in answers
)
PUBLISHED_NAMES: tuple[str, ...] = tuple(
    f"t{number:02d}_{question}_{answer}" for number, (question, *answers) in _PUBLISHED.items() for answer in answers
)


def _columns() -> dict[str, int]:
    """Return the column (0..36) of every simplified name, without its ending (fraction, count, ...)."""
    columns = {}
    column = 0
    for question, *answers in _MODERN.values():
        for answer in answers:
            for synonym in answer.split("|"):
                columns[simplified(f"{question}_{synonym}")] = column
                columns[simplified(f"{question}-gz2_{synonym}")] = column
            column += 1
    for names in (COLUMN_NAMES, PUBLISHED_NAMES):
        columns |= {simplified(name): column for column, name in enumerate(names)}
    return columns


COLUMN_OF: dict[str, int] = _columns()

# Answers of Galaxy Zoo DECaLS, DESI and Euclid (Walmsley et al. 2022, 2023, 2025) and the answer of Galaxy Zoo 2 that
# they are counted for; several may be counted for one. Others have no counterpart.
_LATER = {
    "bar_strong": "bar_yes",
    "bar_weak": "bar_yes",
    "bulge-size_small": "bulge-size_just-noticeable",
    "bulge-size_moderate": "bulge-size_obvious",
    "bulge-size_large": "bulge-size_obvious",
    "edge-on-bulge_rounded": "bulge-shape_round",
    "edge-on-bulge_boxy": "bulge-shape_boxy",
    "edge-on-bulge_none": "bulge-shape_no-bulge",
    "smooth-or-featured_problem": "smooth-or-featured_artifact",
}
# What later projects ask without a counterpart, by the beginning of the column's name.
NO_COUNTERPART = ("merging", "clumps", "problem", "artifact")
_PROJECTS = ("gz2", "dr5", "dr8", "dr12", "decals", "desi", "euclid")


def _later() -> dict[str, int]:
    """Return the column (0..36) of each simplified name of later projects, with and without the project's name."""
    columns = {}
    for name, column in [*((name, NAMES.index(target)) for name, target in _LATER.items()), *_modern()]:
        question, _, answer = name.partition("_")
        for project in _PROJECTS:
            columns[simplified(f"{question}-{project}_{answer}")] = column
        if name in _LATER:
            columns[simplified(name)] = column
    return {name: column for name, column in columns.items() if name not in COLUMN_OF}


def _modern() -> list[tuple[str, int]]:
    """Return each name of an answer, synonyms too, and its column."""
    names, column = [], 0
    for question, *answers in _MODERN.values():
        for answer in answers:
            names += [(f"{question}_{synonym}", column) for synonym in answer.split("|")]
            column += 1
    return names


LATER_COLUMN_OF: dict[str, int] = _later()
