"""Card of a model file: its views, its framing, its training data, its uncertainties.

The card is JSON inside the ONNX file. Beside the file are a copy for programs, with the file's checksum, and one for
readers. A card from another source is validated before use.
"""

import json
from dataclasses import dataclass

import numpy as np

from catalogue.calibration import MAX_BINS, Intervals
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree, from_plain
from machine.files import DataError
from machine.tables import is_flat

KEY, VERSION = "galaxy_card", 1
MAX_BYTES = 2**22
MAX_TRANSFORMS, MAX_VIEWS, MAX_VIEW_SIDE = 256, 8, 1024
DISTANCE_LEVELS, MAX_CLASSES, MAX_FACT_DEPTH = 201, 32, 4
_HINT = "export the model again (export_model.py)"


@dataclass(frozen=True, eq=False)
class Card:
    """A model's card. The matrices are those of `galaxy.affine`: view -> image, and the test-time perturbations."""

    name: str
    # (views, 3, 3), and the (rows, columns) of each view
    ds_transforms: np.ndarray
    target_sizes: tuple[tuple[int, int], ...]
    # (transforms, 3, 3). The network averages over `num_averaged` transforms; views of one can serve several.
    test_transforms: np.ndarray
    num_averaged: int
    # The Petrosian radius of training images, pixels of 424.
    framing_radius: float
    weighted: Intervals
    conditional: Intervals
    # Quantiles of the distances of validation galaxies, ascending: (DISTANCE_LEVELS,).
    distances: np.ndarray
    # For readers: data, labels, numbers, licence. Plain values.
    facts: dict[str, object]
    # Questions that the model answers better than an average, and class averages (k, answers) if it knows classes only.
    path_questions: tuple[int, ...]
    classes: np.ndarray
    # The questions that the model answers.
    tree: Tree
    # The first `num_views` of the transforms are used unless a catalogue asks for others. Intervals and distances are
    # those of this number.
    num_views: int

    def to_json(self) -> str:
        """Return the card as JSON."""

        def plain(values: np.ndarray) -> list:
            # JSON has no infinity; predictions stay below 2.
            return np.where(np.isposinf(values), 2.0, values).round(7).tolist()

        intervals = {
            name: {"edges": plain(fitted.edges), "offsets": plain(fitted.offsets)}
            for name, fitted in (("weighted", self.weighted), ("conditional", self.conditional))
        }
        return json.dumps(
            {
                "version": VERSION,
                "name": self.name,
                "ds_transforms": self.ds_transforms.tolist(),
                "target_sizes": [list(size) for size in self.target_sizes],
                "test_transforms": self.test_transforms.tolist(),
                "num_averaged": self.num_averaged,
                "num_views": self.num_views,
                "framing_radius": self.framing_radius,
                "intervals": intervals,
                "distances": plain(self.distances),
                "facts": self.facts,
                "path_questions": list(self.path_questions),
                "classes": self.classes.round(7).tolist(),
                "tree": self.tree.as_plain(),
            },
            allow_nan=False,
        )


def from_json(text: str) -> Card:
    """Parse and validate a card; raises DataError with the first problem."""
    if len(text) > MAX_BYTES:
        raise DataError(f"its card has {len(text):,} characters, expected at most {MAX_BYTES:,}; {_HINT}")
    try:
        values = json.loads(text, parse_constant=_no_constant)
        if not isinstance(values, dict) or values.get("version") != VERSION:
            raise ValueError(f"expected version {VERSION}")
        sizes = values["target_sizes"]
        if not (1 <= len(sizes) <= MAX_VIEWS):
            raise ValueError(f"expected 1 to {MAX_VIEWS} views")
        sizes = tuple((_side(rows), _side(columns)) for rows, columns in sizes)
        transforms = values["test_transforms"]
        if not (1 <= len(transforms) <= MAX_TRANSFORMS):
            raise ValueError(f"expected 1 to {MAX_TRANSFORMS} transforms")
        averaged = values["num_averaged"]
        if type(averaged) is not int or not 1 <= averaged <= MAX_TRANSFORMS:
            raise ValueError(f"expected an average over 1 to {MAX_TRANSFORMS} transforms")
        num_views = values.get("num_views", len(transforms))  # cards of earlier versions use all
        if type(num_views) is not int or not 1 <= num_views <= len(transforms):
            raise ValueError(f"expected 1 to {len(transforms)} of the transforms to be used")
        # Cards of earlier versions have no tree, as there was one.
        tree = from_plain(values["tree"]) if "tree" in values else GALAXY_ZOO_2
        intervals = {}
        for name in ("weighted", "conditional"):
            edges = _numbers(values["intervals"][name]["edges"], (tree.num_answers, MAX_BINS - 1))
            offsets = _numbers(values["intervals"][name]["offsets"], (tree.num_answers, MAX_BINS, 4))
            intervals[name] = Intervals(edges, offsets)
        radius = float(_numbers(values["framing_radius"], ()))
        if not 1 <= radius <= 1000:
            raise ValueError("expected a framing radius between 1 and 1000")
        name = values["name"]
        if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
            raise ValueError("expected a name")
        facts = values["facts"]
        if not isinstance(facts, dict) or not is_flat(facts, MAX_FACT_DEPTH):
            raise ValueError(f"expected facts of at most {MAX_FACT_DEPTH} levels")
        # Cards of earlier versions have neither: they know all questions.
        questions, classes = values.get("path_questions", list(tree.numbers)), values.get("classes", [])
        if not isinstance(questions, list) or not set(questions) <= set(tree.numbers):
            raise ValueError(f"expected path questions from 1 to {len(tree.questions)}")
        if not isinstance(classes, list) or len(classes) > MAX_CLASSES:
            raise ValueError(f"expected at most {MAX_CLASSES} classes")
        return Card(
            name,
            _matrices(values["ds_transforms"], len(sizes)),
            sizes,
            _matrices(transforms, len(transforms)),
            averaged,
            radius,
            **intervals,
            distances=np.maximum.accumulate(_numbers(values["distances"], (DISTANCE_LEVELS,))),
            facts=facts,
            path_questions=tuple(questions),
            classes=_numbers(classes, (len(classes), tree.num_answers)) if classes else np.empty((0, tree.num_answers)),
            tree=tree,
            num_views=num_views,
        )
    except KeyError as error:
        raise DataError(f"its card has no {error}; {_HINT}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"its card is not as expected ({str(error)[:100]}); {_HINT}") from None


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _side(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_VIEW_SIDE:
        raise ValueError(f"expected views of 1 to {MAX_VIEW_SIDE} pixels a side")
    return value


def _numbers(values: object, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e9:
        raise ValueError(f"expected numbers of shape {shape}")
    return array


def _matrices(values: object, num: int) -> np.ndarray:
    matrices = _numbers(values, (num, 3, 3))
    # Scales are limited to 1/100 ... 100, which bounds the pixels of a view.
    if not (matrices[:, 2] == (0, 0, 1)).all():
        raise ValueError("expected affine transforms")
    areas = np.abs(np.linalg.det(matrices[:, :2, :2]))
    if (areas < 1e-4).any() or (areas > 1e4).any():
        raise ValueError("expected transforms that keep the scale within a factor of 100")
    return matrices


def to_markdown(card: Card, sha256: str) -> str:
    """Return the card for readers."""
    lines = [f"# {card.name}", ""]
    for title, value in card.facts.items():
        if isinstance(value, dict):
            lines += [f"## {title.capitalize()}", "", "| | |", "| --- | --- |"]
            lines += [f"| {name} | {_cell(cell)} |" for name, cell in value.items()] + [""]
        else:
            lines += [f"{title.capitalize()}: {_cell(value)}", ""]
    num_averaged = card.num_views if card.num_averaged == len(card.test_transforms) else card.num_averaged
    sizes = ", ".join(f"{rows} x {columns}" for rows, columns in card.target_sizes)
    lines += [
        "## Views",
        "",
        f"Views per transform: {len(card.target_sizes)} ({sizes} pixels). The prediction is the mean over "
        f"{num_averaged} transforms. Images are framed so that the galaxy's Petrosian radius is "
        f"{card.framing_radius:.1f} of 424 pixels.",
        "",
        f"SHA-256: `{sha256}`",
        "",
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
