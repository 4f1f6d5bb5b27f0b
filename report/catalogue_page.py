"""The page of a catalogue: how many rows can be trusted, counts over all rows, the galaxies with their trees."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue import answer_columns
from catalogue.calibration import FAR_FROM
from catalogue.card import Card
from catalogue.columns import FEATURE_COLUMN, FEATURE_SCALE, LABELS, tree_of
from catalogue.flags import DEFINITIONS, FAR, FIELD_FLAGS, FLAGS, NOT_JUDGED, OK, UNTRUSTED, are_trusted
from catalogue.likely_path import answers_of
from galaxy import thumbnails
from galaxy.tree import Tree as DecisionTree
from machine import seals, tables
from machine.files import DataError
from report import tree_figure
from report.galaxies import MAX_COLUMNS, Column, Field, Galaxies, spread_evenly
from report.page import Bars, Facts, Gallery, Page, Section, Table, Tree, cell

# Longest lists of unread files, paths through the tree, and the farthest galaxies.
MAX_UNREAD, MAX_PATHS, MAX_FARTHEST = 300, 20, 12
# Returns the pictures (WebP) of rows, given by ascending index; None for a row without picture.
Pictures = Callable[[Sequence[int]], Iterable[bytes | None]]


def is_weighted(schema: pa.Schema) -> bool:
    """Return whether a catalogue's fractions are weighted down the tree; else they are among those asked."""
    return str(tables.provenance(schema).get("fractions", "")).startswith("weighted")


def votes_of(table: pa.Table, tree: DecisionTree, weighted: bool) -> np.ndarray:
    """Return weighted votes (n, answers) from a catalogue's fractions; NaN in rows without fractions."""
    names = answer_columns.fractions_of(tree)
    fractions = np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)
    if weighted:
        return fractions
    unread = np.isnan(fractions).all(axis=1)
    # A question that almost no volunteer was asked has no fractions; its votes are about 0.
    votes = tree.weigh(np.nan_to_num(fractions))
    votes[unread] = np.nan
    return votes


@dataclass
class _Summary:
    """Counts over all rows, and the rows that are shown."""

    tree: DecisionTree
    # Indices, among the rows with answers, of those that are shown.
    shown: np.ndarray

    num_rows: int = 0
    num_ok: int = 0
    num_trusted: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    votes: np.ndarray | float = 0.0
    flags: Counter = field(default_factory=Counter)
    paths: Counter = field(default_factory=Counter)
    ranks: np.ndarray = field(default_factory=lambda: np.zeros(10, int))
    not_judged: Counter = field(default_factory=Counter)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def num_unread(self) -> int:
        """Count of files that could not be read."""
        return self.num_rows - self.num_ok - self.not_judged.total()

    def add(self, table: pa.Table, weighted: bool) -> None:
        """Count the rows of a table, and keep those that are shown."""
        ok = table["status"].to_numpy() == OK
        with_answers = np.flatnonzero(ok)
        shown = self.shown[(self.shown >= self.num_ok) & (self.shown < self.num_ok + len(with_answers))] - self.num_ok
        self.tables.append(table.take(with_answers[shown]))
        self.rows.append(with_answers[shown] + self.num_rows)
        self.num_rows += len(table)
        self.num_ok += len(with_answers)
        self.votes = self.votes + np.nansum(votes_of(table, self.tree, weighted)[ok], axis=0)
        flags = table["flag"].to_numpy()[ok]
        self.num_trusted += int(are_trusted(flags).sum())
        for bit in FLAGS | FIELD_FLAGS:
            self.flags[bit] += int((flags & bit > 0).sum())
        self.paths.update(np.asarray(table["most_likely_path"].to_pylist(), dtype=object)[ok].tolist())
        ranks = table["farther_than"].to_numpy()[ok]
        self.ranks += np.bincount(np.minimum((ranks[np.isfinite(ranks)] * 10).astype(int), 9), minlength=10)
        not_judged = table["status"].to_numpy() == NOT_JUDGED
        self.not_judged.update(np.asarray(table["reason"].to_pylist(), dtype=object)[not_judged].tolist())
        for row in np.flatnonzero(~ok & ~not_judged)[: MAX_UNREAD - len(self.unread)]:
            self.unread.append((table["file_loc"][int(row)].as_py(), table["reason"][int(row)].as_py()))


def _columns(table: pa.Table, of_classes: bool) -> list[Column]:
    """Return the columns of a page beside the answers: measurements, the file, columns of the user's table."""

    def real(name: str) -> np.ndarray:
        return table[name].to_numpy().astype(np.float64)

    names = table.column_names
    own = names[names.index("file_loc") + 1 : names.index("status")][:MAX_COLUMNS]
    fraction = ("probability", "% probability of the class") if of_classes else ("path votes", "% of volunteers")
    columns = [
        Column(fraction[0], real("most_likely_path_fraction") * 100, 0, True, fraction[1]),
        Column("unlike training", real("farther_than") * 100, 0, True, "% of validation galaxies that are nearer"),
        Column("radius", real("petrosian_radius"), 1, True, "Petrosian radius, pixels of the file"),
        Column("x", real("x"), 1),
        Column("y", real("y"), 1),
        Column("distance", real("distance"), 2),
        Column("axis ratio", real("axis_ratio"), 2),
        Column("enlarged by", real("frame_scale"), 2),
        Column("framing", table["framing"].to_pylist()),
        Column("file", table["file_loc"].to_pylist()),
    ]
    for name in own:
        column = table[name]
        if pa.types.is_floating(column.type) or _is_exact(column):
            columns.append(Column(name, column.to_numpy(), 5 if pa.types.is_floating(column.type) else 0))
        else:
            columns.append(Column(name, [str(value) for value in column.to_pylist()]))
    return columns


def _is_exact(column: pa.ChunkedArray) -> bool:
    """Return whether a column has whole numbers only, and all are exact in a browser."""
    return pa.types.is_integer(column.type) and all(abs(value or 0) <= 2**53 for value in column.to_pylist())


def _spreads(table: pa.Table, tree: DecisionTree) -> dict[str, np.ndarray]:
    """Return the spreads and intervals of a full table that a page shows, (n, answers) each."""
    endings = {"transforms": "spread_transforms", "models": "spread_models", "low68": "low68", "high68": "high68"}
    spreads = {}
    for key, ending in endings.items():
        names = [f"{answer}_{ending}" for answer in answer_columns.answers_of(tree)]
        if set(names) <= set(table.column_names):
            values = np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)
            if np.isfinite(values).any():
                spreads[key] = values
    return spreads


def build(
    tables_of_rows: Iterable[pa.Table],
    schema: pa.Schema,
    pictures: Pictures | None = None,
    cards: Sequence[Card] = (),
    fields: Sequence[Field] = (),
    num_ok: int | None = None,
) -> Page:
    """Return the page of a catalogue, in one pass over its tables; `num_ok` is the count of rows with answers.

    Without `num_ok`, another pass counts them. The `rows` of `fields` are rows of the catalogue. Fields lose the marks
    of rows that are not shown.
    """
    if num_ok is None:
        num_ok = sum(int((table["status"].to_numpy() == OK).sum()) for table in tables_of_rows)
    with_features = FEATURE_COLUMN in schema.names
    shown = spread_evenly(num_ok, thumbnails.most_shown(with_features))
    weighted, tree = is_weighted(schema), tree_of(schema)
    summary = _Summary(tree, shown)
    for table in tables_of_rows:
        summary.add(table, weighted)
    table = pa.concat_tables([schema.empty_table(), *summary.tables])
    rows = np.concatenate([np.arange(0), *summary.rows])
    flags = FLAGS | FIELD_FLAGS if "object" in schema.names else FLAGS
    provenance = tables.provenance(schema)
    of_classes = bool(provenance.get("classes"))
    galaxies = Galaxies(
        tree=tree,
        names=table["id_str"].to_pylist(),
        votes=votes_of(table, tree, weighted),
        pictures=list(pictures(rows.tolist())) if pictures else [None] * len(rows),
        paths=[path or "" for path in table["most_likely_path"].to_pylist()],
        path_column="probability" if of_classes else "path votes",
        path_title="Most likely class" if of_classes else "Most likely path",
        known=provenance.get("path questions"),
        average="class average" if of_classes else "close to the average of such galaxies",
        interval=f"Ranges and thin lines: the interval of 68 % of {LABELS[of_classes]}.",
        columns=_columns(table, of_classes),
        weighted=weighted,
        spreads=_spreads(table, tree),
        flags=table["flag"].to_numpy(),
        flag_words=flags,
        untrusted=UNTRUSTED,
        fields=[each.among(rows) for each in fields],
        features=_features(table) if with_features else None,
        feature_scale=FEATURE_SCALE,
        files=table["file_loc"].to_pylist(),
        rest=f"This page has {len(shown):,} of {num_ok:,} galaxies; the command ranks all." * (num_ok > len(shown)),
    )
    return Page(
        title=fields[0].title if len(fields) == 1 else "Galaxies",
        lead=_lead(summary, len(rows)),
        notes=[_trust(summary), *(_model_note(card) for card in cards if "read this first" in card.facts)],
        before=[_overview(summary, flags, provenance), *_farthest(galaxies)],
        galaxies=galaxies,
        galaxies_text="Headings sort the list. Select a galaxy to see its tree and all its answers.",
        after=[*_unread(summary), _provenance(provenance, cards, tree)],
    )


def _features(table: pa.Table) -> np.ndarray:
    column = table[FEATURE_COLUMN].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def _lead(summary: _Summary, num_shown: int) -> str:
    text = "1 galaxy" if summary.num_ok == 1 else f"{summary.num_ok:,} galaxies"
    if others := summary.not_judged.total():
        text += f", {others:,} other objects that are not judged"
    if unread := summary.num_unread:
        text += f", {unread:,} {'file' if unread == 1 else 'files'} that could not be read"
    if num_shown < summary.num_ok:
        text += f". The list has {num_shown:,} of them, evenly spread; the table has all, and all are counted"
    return f"{text}."


def _trust(summary: _Summary) -> str:
    """Return how many rows can be trusted, and why the others cannot."""
    text = f"{summary.num_trusted:,} of {summary.num_ok:,} rows with answers can be trusted."
    reasons = [
        f"{summary.flags[each.bit]:,} {each.untrusted}"
        for each in DEFINITIONS
        if each.untrusted and summary.flags[each.bit]
    ]
    return f"{text} Do not trust the others: {', '.join(reasons)}." if reasons else text


def _model_note(card: Card) -> str:
    return f"About the model: {card.facts['read this first']}"


def _overview(summary: _Summary, flags: dict[int, str], provenance: dict) -> Section:
    paths = [(path or "none", count) for path, count in summary.paths.most_common(MAX_PATHS)]
    if rest := len(summary.paths) - len(paths):
        paths.append((f"{rest} other paths", summary.paths.total() - sum(count for _, count in paths)))
    flagged = [(words, summary.flags[bit]) for bit, words in flags.items() if summary.flags[bit]]
    ranks = [(f"{10 * tenth} to {10 * tenth + 10} %", int(count)) for tenth, count in enumerate(summary.ranks)]
    shown: list[object] = [Bars("Warnings", flagged)] * bool(flagged)
    if summary.not_judged:
        shown.append(Bars("Objects of the table that are not judged", summary.not_judged.most_common()))
    if summary.num_ok:
        of_classes = bool(provenance.get("classes"))
        caption = "The mean votes of all galaxies, trusted or not, along the tree."
        if of_classes:
            caption += " Votes beyond the classes are class averages."
        mean = Tree(summary.votes / summary.num_ok, summary.tree, "Mean votes", caption, ())
        distances = (
            "How unusual the images are: percentile among the validation galaxies. For images like the training "
            "images, the bars are about equal"
        )
        titles = "Most likely classes" if of_classes else "Most likely paths"
        shown = [mean, Bars(f"{titles}, trusted or not", paths), Bars(distances, ranks), *shown]
    return Section("overview", "All together", shown)


def _farthest(galaxies: Galaxies) -> list[Section]:
    [distances] = (np.asarray(column.values) for column in galaxies.columns if column.title == "distance")
    far = np.flatnonzero(galaxies.flags & FAR > 0)
    # The percentile saturates at 100 %; the distance does not.
    order = far[np.argsort(-np.nan_to_num(distances[far], nan=np.inf), kind="stable")][:MAX_FARTHEST]
    if not len(order):
        return []
    text = (
        f"Farther from the training images than {FAR_FROM:.0%} of the validation galaxies, or without a detected "
        "object: do not trust their answers. The farthest of the list:"
    )
    words = [f"distance {distances[row]:.2f}" for row in order]
    return [Section("far", "Far from training", [Gallery(order.tolist(), words)], text)]


def _unread(summary: _Summary) -> list[Section]:
    count = summary.num_unread
    if not count:
        return []
    caption = f"{len(summary.unread):,} of {count:,}" if count > len(summary.unread) else f"{count:,} in all"
    return [Section("unread", "Files that could not be read", [Table(caption, ("file", "reason"), summary.unread)])]


def _facts(provenance: dict, tree: DecisionTree) -> Iterator[tuple[str, str]]:
    """Yield names and values of a provenance; numbers that stand for flags and questions become words."""
    for name, value in provenance.items():
        if name in ("models", "flags", "tree"):
            continue
        if name == "untrusted flags":
            value = ", ".join(each.name for each in DEFINITIONS if each.bit & value)
        elif name == "path questions":
            value = " ".join(tree.question(number).text for number in value)
        elif name == "classes":
            value = value or "none: the model predicts votes"
        elif isinstance(value, dict):  # the name and checksum of the model of the features
            value = value.get("name", "")
        yield name.replace("_", " "), str(value)


def _provenance(provenance: dict, cards: Sequence[Card], tree: DecisionTree) -> Section:
    shown: list[object] = [Facts([*_facts(provenance, tree)])]
    models = [(each["name"], each["transforms"], each["sha256"]) for each in provenance.get("models", ())]
    shown.append(Table("The networks", ("name", "transforms", "SHA-256"), models))
    for card in cards:
        rows: list[tuple[str, str]] = []
        for name, value in card.facts.items():
            pairs = value.items() if isinstance(value, dict) else [(name, value)]
            rows += [(key, cell(each)) for key, each in pairs]
        shown.append(Table(f"Card of {card.name}", ("fact", "value"), rows))
    return Section("made", "How it was made", shown)


def draw(table: pa.Table, schema: pa.Schema, picture: bytes | None, path: Path, source: str = seals.NO_SOURCE) -> None:
    """Draw the tree of a table's first row beside its picture (WebP); raises DataError for a row without answers."""
    row = {name: table[name][0].as_py() for name in ("id_str", "file_loc", "status", "reason", "most_likely_path")}
    if row["status"] != OK:
        raise DataError(f"{row['file_loc']} {row['reason']}; there is no tree to draw")
    pixels = None if picture is None else thumbnails.decode(picture)
    tree = tree_of(schema)
    marked = answers_of(row["most_likely_path"], tree)
    votes = votes_of(table, tree, is_weighted(schema))[0]
    tree_figure.save(tree_figure.draw(votes, tree, pixels, row["id_str"], path=marked), path, source)
