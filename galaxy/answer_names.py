"""Names of the answers in tables of votes, beside those of a tree's own columns: Kaggle's `Class1.1`.

Galaxy Zoo 2 has two schemes: that of the published table, `t01_smooth_or_features_a01_smooth_fraction` (Willett et al.
2013, table 5), and that of later projects and their tools, `smooth-or-featured_smooth_fraction`.
"""

import re

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree

# Other names of answers, which are read but never written.
_SYNONYMS = {
    "smooth-or-featured_featured-or-disk": ("features-or-disk",),
    "smooth-or-featured_artifact": ("star-or-artifact",),
    "bulge-size_no": ("none",),
    "how-rounded_round": ("completely-round", "completely"),
    "how-rounded_cigar": ("cigar-shaped",),
    "odd-feature_lens-or-arc": ("lens",),
    "bulge-shape_round": ("rounded",),
    "bulge-shape_no-bulge": ("none",),
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


PUBLISHED_NAMES: tuple[str, ...] = tuple(
    f"t{number:02d}_{question}_{answer}" for number, (question, *answers) in _PUBLISHED.items() for answer in answers
)


def _synonyms(tree: Tree) -> list[tuple[str, str, int]]:
    """Return question, answer and column of each name of an answer."""
    pairs = [(name, *name.split("_"), column) for column, name in enumerate(tree.names)]
    return [
        (question, synonym, column)
        for name, question, answer, column in pairs
        for synonym in (answer, *_SYNONYMS.get(name, ()))
    ]


def columns_of(tree: Tree) -> dict[str, int]:
    """Return the column of every simplified name of an answer, without its ending (fraction, count, ...)."""
    columns = {}
    for question, answer, column in _synonyms(tree):
        columns[simplified(f"{question}_{answer}")] = column
        if tree.project:
            columns[simplified(f"{question}-{tree.project}_{answer}")] = column
    for names in (tree.columns, PUBLISHED_NAMES if tree == GALAXY_ZOO_2 else ()):
        columns |= {simplified(name): column for column, name in enumerate(names)}
    return columns


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


def later_columns_of(tree: Tree) -> dict[str, int]:
    """Return the column of each simplified name of later projects, if the tree is Galaxy Zoo 2's."""
    if tree != GALAXY_ZOO_2:
        return {}
    later = [(*name.split("_"), tree.names.index(target)) for name, target in _LATER.items()]
    columns = {simplified(f"{question}_{answer}"): column for question, answer, column in later}
    for question, answer, column in [*later, *_synonyms(tree)]:
        columns |= {simplified(f"{question}-{project}_{answer}"): column for project in _PROJECTS}
    known = columns_of(tree)
    return {name: column for name, column in columns.items() if name not in known}
