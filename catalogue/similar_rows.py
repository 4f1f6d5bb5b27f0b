"""Find rare galaxies in catalogues with features: those like an example, or those that a few labels describe.

Every row is compared, in batches. The result is exact: it does not depend on batches, shards or the number of threads,
and of equal rows the first ones are taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue import label_fit
from catalogue.columns import FEATURE_SCALE, as_stored
from catalogue.feature_tables import FeatureTables, matrix_of
from catalogue.framing import CHOICES
from catalogue.label_tables import Labels, read_labels
from catalogue.model_file import Model
from catalogue.request import check_output, find_models
from catalogue.targets import FileTarget, Recipe, Rejected
from galaxy.stretch import STRETCHES
from machine import products, seals, table_writers, tables
from machine.files import DataError, file_checksum, shown
from machine.locks import alone

MAX_LIMIT, MAX_EXAMPLES = 1_000_000, 1_000
_PREFIX = "like_"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for: `like` names examples (id_str of a row, or an image), or `labels` is a table of labels.

    `wanted` is the label that is looked for. The examples and the labelled galaxies themselves are not in the result.
    """

    tables: Sequence[Path]
    like: Sequence[str] = ()
    labels: Path | None = None
    wanted: str | None = None
    output: Path | None = None
    limit: int
    model: Sequence[str] = ()
    root: Path = Path(".")
    overwrite: bool = False

    def check(self) -> None:
        """Raise DataError where the parts of the search contradict each other."""
        if bool(self.like) == bool(self.labels):
            raise DataError("expected --like with examples, or --labels with a table of labels")
        if self.wanted is not None and not self.labels:
            raise DataError("expected --wanted with --labels; it names one of the labels")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise DataError(f"expected a --limit of 1 to {MAX_LIMIT:,} rows, got {self.limit}")
        if len(self.like) > MAX_EXAMPLES:
            raise DataError(f"expected at most {MAX_EXAMPLES:,} examples, got {len(self.like):,}; use --labels")
        if self.output:
            check_output(self.output)


@dataclass(frozen=True, eq=False)
class Found:
    """The rows that were found, the best first, with their ranks; `note` says how they were ranked."""

    rows: pa.Table
    note: str


class _Best:
    """The `limit` rows with the least keys; of equal keys the first rows."""

    def __init__(self, limit: int):
        self.limit, self.keys, self.rows = limit, np.empty(0), np.empty(0, np.int64)
        self._bound = np.inf

    def add(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Add rows (n,) with their keys (n,), in the order of the rows."""
        # A later row with the greatest key that is kept would be left out again.
        near = keys < self._bound
        self.keys, self.rows = np.append(self.keys, keys[near]), np.append(self.rows, rows[near])
        if len(self.keys) > 4 * self.limit + 1_000:
            self.settle()

    def settle(self) -> None:
        """Keep the best rows only, in their order."""
        order = np.lexsort((self.rows, self.keys))[: self.limit]
        self.keys, self.rows = self.keys[order], self.rows[order]
        if len(order) == self.limit:
            self._bound = self.keys[-1]


def rank(
    catalogue: FeatureTables, key: Callable[[np.ndarray], np.ndarray], without: Sequence[int], limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices and the keys of the `limit` rows with the smallest `key` (n,); features (n, k) are int8."""
    best, without = _Best(limit), np.asarray(without, dtype=np.int64)
    for rows, features in catalogue.features():
        kept = ~np.isin(rows, without)
        if not kept.all():
            rows, features = rows[kept], features[kept]
        best.add(key(features), rows)
    best.settle()
    return best.rows, best.keys


def nearest_square(examples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function: whole features (n, k) -> squared distances (n,) to the nearest of `examples` (m, k)."""
    # Whole numbers below 2**24 are exact in single precision.
    examples = examples.astype(np.float32)
    own = (examples * examples).sum(axis=1)

    def squares(features: np.ndarray) -> np.ndarray:
        values = features.astype(np.float32)
        products = values @ examples.T
        return np.einsum("ij,ij->i", values, values) + (own - 2 * products).min(axis=1)

    return squares


def find(search: Search) -> Found:
    """Find what a search asks for and write it to its output; raises DataError."""
    search.check()
    catalogue = FeatureTables(search.tables)
    labels = read_labels(search.labels) if search.labels else None
    source = _source_of(search)
    inputs = [*catalogue.paths, *([search.labels] if search.labels else []), *search.like]
    if not search.output:
        return _like(search, catalogue) if labels is None else _labelled(search, catalogue, labels)
    products.check(table_writers.products(search.output, source), inputs, search.overwrite)
    with alone(search.output.with_name(f".{search.output.name}.lock"), f"the search for {search.output}"):
        found = _like(search, catalogue) if labels is None else _labelled(search, catalogue, labels)
        products.check(table_writers.products(search.output, source), inputs, search.overwrite)
        table_writers.write(search.output, found.rows.schema, [found.rows], len(found.rows), source)
    return found


def _source_of(search: Search) -> str:
    texts = [f"{search.like!r}", f"{search.wanted!r}", f"{search.limit}", f"{[str(each) for each in search.tables]!r}"]
    return seals.source_of(*texts, file_checksum(search.labels) if search.labels else "")


def _like(search: Search, catalogue: FeatureTables) -> Found:
    rows = catalogue.find(search.like)
    images = [name for name in search.like if not rows[name]]
    for name, own in rows.items():
        if len(own) > 1:
            raise DataError(f"{shown(name)} is the id_str of {len(own)} rows; name the image, or search one catalogue")
    own_rows = [own[0] for own in rows.values() if own]
    examples, known = matrix_of(_features(catalogue, own_rows))
    if not known.all():
        [name, *_] = [name for name in rows if rows[name] and rows[name][0] == own_rows[int(np.argmin(known))]]
        raise DataError(f"{shown(name)} has no features, since it could not be read; name another example")
    if images:
        examples = np.concatenate([examples, _measured(images, search, catalogue)])
    found, squares = rank(catalogue, nearest_square(examples), own_rows, search.limit)
    distances = np.sqrt(squares) / FEATURE_SCALE
    column = ("distance", "distance to the nearest example, in standard deviations of the first direction of features")
    note = f"by their distance to {len(examples)} {'example' if len(examples) == 1 else 'examples'}"
    return Found(_ranked(catalogue, found, {column: pa.array(distances, pa.float32())}), note)


def _labelled(search: Search, catalogue: FeatureTables, labels: Labels) -> Found:
    name = labels.wanted(search.wanted)
    rows, wanted = _rows_of(labels, catalogue, name)
    features, known = matrix_of(_features(catalogue, rows))
    features, wanted = features[known], wanted[known]
    if not wanted.any():
        raise DataError(f"no labelled galaxy of the catalogue is {shown(name)}; label one, or choose --wanted")
    note = f"by {shown(name)} ({wanted.sum()} of {len(wanted)} labels)"
    curve = None
    if wanted.all():
        key, note = nearest_square(features), f"{note}, by distance, since no galaxy has another label"
    else:
        fitted, curve = label_fit.fit(features, wanted), label_fit.calibrate(features, wanted)

        def key(values: np.ndarray) -> np.ndarray:
            return -fitted.scores(values)

    found, keys = rank(catalogue, key, rows, search.limit)
    scores = -np.sqrt(keys) / FEATURE_SCALE if wanted.all() else -keys
    chances = np.full(len(scores), np.nan) if curve is None else curve.probabilities(scores)
    if curve is None:
        note += f"; no probabilities, which need {label_fit.LEAST_CALIBRATED} labels of each answer"
    columns = {
        ("score", f"score of the label {shown(name)}; larger is likelier"): pa.array(scores, pa.float32()),
        ("probability", f"probability of the label {shown(name)}; empty with too few labels"): pa.array(
            chances, pa.float32(), from_pandas=True
        ),
    }
    return Found(_ranked(catalogue, found, columns), note)


def _rows_of(labels: Labels, catalogue: FeatureTables, name: str) -> tuple[list[int], np.ndarray]:
    """Return the rows of labelled galaxies, and which have the label `name`; raises DataError."""
    found = catalogue.find(list(dict.fromkeys(labels.ids)))
    several = sorted({row for own in found.values() if len(own) > 1 for row in own})
    files = {}
    if several and "file_loc" in catalogue.schema.names:
        files = dict(zip(several, catalogue.take(several, ["file_loc"])["file_loc"].to_pylist(), strict=True))
    rows, wanted = [], []
    for identifier, file, label in zip(labels.ids, labels.files, labels.names, strict=True):
        own = found[identifier]
        if len(own) > 1:
            own = [row for row in own if files.get(row) == file]
        if len(own) > 1 or (not own and found[identifier]):
            raise DataError(
                f"{shown(identifier)} is the id_str of {len(found[identifier])} rows, and file_loc does not say which; "
                "delete its label, or search one catalogue"
            )
        rows += own
        wanted += [label == name] * len(own)
    if not rows:
        raise DataError("no labelled galaxy is in the catalogue; compare its id_str with that of the labels")
    if len(set(rows)) < len(rows):
        raise DataError("two labels are of one row of the catalogue; delete one of them")
    if len(rows) < len(labels):
        print(f"{len(labels) - len(rows)} of {len(labels)} labelled galaxies are not in the catalogue")
    return rows, np.array(wanted)


def _features(catalogue: FeatureTables, rows: Sequence[int]) -> pa.Array:
    column = catalogue.take(rows, ["features"])["features"]
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _measured(names: Sequence[str], search: Search, catalogue: FeatureTables) -> np.ndarray:
    """Return the whole features (n, k) of images, from the model of the catalogue; raises DataError."""
    for name in names:
        if not Path(name).is_file():
            raise DataError(f"{shown(name)} is neither an id_str of the catalogue nor an image; name one of these")
    [path, *_] = find_models(search.model, search.root)
    model = Model(path)
    if not model.num_features or model.sha256 != catalogue.model:
        raise DataError(f"{path} is not the model of the catalogue's features; name that one with --model")
    # Images are framed as those of the catalogue.
    made = tables.provenance(catalogue.schema)
    framing = made.get("framing") if made.get("framing") in CHOICES else "auto"
    recipe = Recipe(made["stretch"] if made.get("stretch") in STRETCHES else None, framing, model.card.framing_radius)
    features = []
    for name in names:
        frame = FileTarget(Path(name)).frame(recipe)
        if isinstance(frame, Rejected):
            raise DataError(f"{shown(name)} {frame.reason}; name another image")
        features.append(as_stored(model.predict([frame]).features)[0])
    return np.stack(features)


def _ranked(catalogue: FeatureTables, rows: np.ndarray, columns: dict[tuple[str, str], pa.Array]) -> pa.Table:
    """Return rows with all columns of the catalogue behind the columns of this search, from which `like_` begins."""
    taken = catalogue.take(rows)
    named = {("rank", "place in the order of this search, from 1"): pa.array(np.arange(1, len(rows) + 1), pa.int32())}
    fields, arrays = [], []
    for (name, description), values in (named | columns).items():
        fields.append(tables.field(f"{_PREFIX}{name}", values.type, description))
        arrays.append(values)
    for column in catalogue.schema:
        if not column.name.startswith(_PREFIX):  # of an earlier search
            fields.append(column)
            arrays.append(taken[column.name])
    omitted = (table_writers.SEAL, b"shard")
    metadata = {key: text for key, text in (catalogue.schema.metadata or {}).items() if key not in omitted}
    return pa.table(arrays, schema=pa.schema(fields, metadata=metadata))
