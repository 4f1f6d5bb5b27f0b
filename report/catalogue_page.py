"""The page of a catalogue: own images or a field, with what the networks say of each galaxy."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue import answer_columns
from catalogue.calibration import FAR_FROM
from catalogue.card import Card
from catalogue.field_cutouts import Place
from catalogue.flags import FAR, FIELD_FLAGS, FLAGS, NOT_JUDGED, OK
from catalogue.framing import Frame
from catalogue.read_ahead import Recipe, prepare, prepared
from galaxy.decision_tree import NUM_ANSWERS, weigh
from machine import tables
from machine.files import DataError
from report import thumbnails, tree_figure
from report.galaxies import MAX_COLUMNS, Column, Field, Galaxies, spread_evenly
from report.page import Bars, Facts, Gallery, Page, Section, Table, Tree

# Of lists that are not galaxies: unread files, ways, and the farthest galaxies.
MAX_UNREAD, MAX_WAYS, MAX_FARTHEST = 300, 20, 12
# What pictures are asked for: the numbers of rows; what comes back is WebP, or None.
Pictures = Callable[[Sequence[int]], Iterable[bytes | None]]


def pictures_of(paths: Sequence[Path | Place], recipe: Recipe, num_workers: int) -> Pictures:
    """Return a function that reads and frames the files of rows, and yields small pictures of the frames' middles."""

    def pictures(rows: Sequence[int]) -> Iterator[bytes | None]:
        most = thumbnails.share(len(rows))
        for frame in prepared([paths[row] for row in rows], recipe, min(num_workers, len(rows))):
            yield picture_of(frame, most) if isinstance(frame, Frame) else None

    return pictures


def picture_of(frame: Frame, max_bytes: int) -> bytes | None:
    """Return a small picture of a framed galaxy, WebP."""
    return thumbnails.encode(thumbnails.middle(frame.pixels, frame.frame_to_image), max_bytes)


def is_weighted(schema: pa.Schema) -> bool:
    """Return whether a catalogue's fractions are weighted down the tree, or of those asked."""
    return str(tables.provenance(schema).get("fractions", "")).startswith("weighted")


def votes_of(table: pa.Table, weighted: bool) -> np.ndarray:
    """Return Kaggle's weighted votes (n, 37) of a catalogue's fractions; NaN in rows without any."""
    fractions = np.stack([table[name].to_numpy().astype(np.float64) for name in answer_columns.FRACTIONS], axis=1)
    if weighted:
        return fractions
    unread = np.isnan(fractions).all(axis=1)
    # Of a question that almost nobody was asked there are no fractions, nor votes worth drawing.
    votes = weigh(np.nan_to_num(fractions))
    votes[unread] = np.nan
    return votes


@dataclass
class _Summary:
    """What is counted over all rows."""

    num_rows: int = 0
    num_ok: int = 0
    votes: np.ndarray = field(default_factory=lambda: np.zeros(NUM_ANSWERS))
    flags: Counter = field(default_factory=Counter)
    ways: Counter = field(default_factory=Counter)
    ranks: np.ndarray = field(default_factory=lambda: np.zeros(10, int))
    not_judged: Counter = field(default_factory=Counter)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def num_unread(self) -> int:
        """Files that could not be read."""
        return self.num_rows - self.num_ok - self.not_judged.total()

    def add(self, table: pa.Table, weighted: bool) -> None:
        """Count the rows of a table."""
        ok = table["status"].to_numpy() == OK
        self.num_rows += len(table)
        self.num_ok += int(ok.sum())
        self.votes += np.nansum(votes_of(table, weighted)[ok], axis=0)
        flags = table["flag"].to_numpy()[ok]
        for bit in FLAGS | FIELD_FLAGS:
            self.flags[bit] += int((flags & bit > 0).sum())
        self.ways.update(np.asarray(table["most_likely_path"].to_pylist(), dtype=object)[ok].tolist())
        ranks = table["farther_than"].to_numpy()[ok]
        self.ranks += np.bincount(np.minimum((ranks[np.isfinite(ranks)] * 10).astype(int), 9), minlength=10)
        found = table["status"].to_numpy() == NOT_JUDGED
        self.not_judged.update(np.asarray(table["reason"].to_pylist(), dtype=object)[found].tolist())
        for row in np.flatnonzero(~ok & ~found)[: MAX_UNREAD - len(self.unread)]:
            self.unread.append((table["file_loc"][int(row)].as_py(), table["reason"][int(row)].as_py()))


def _shown(parts: Iterable[pa.Table], schema: pa.Schema, num_ok: int) -> tuple[pa.Table, np.ndarray]:
    """Return the rows that are shown, and their numbers among all."""
    chosen, taken, rows = spread_evenly(num_ok), [], []
    start = before = 0
    for table in parts:
        ok = np.flatnonzero(table["status"].to_numpy() == OK)
        own = ok[chosen[(chosen >= before) & (chosen < before + len(ok))] - before]
        taken.append(table.take(own))
        rows.append(own + start)
        start, before = start + len(table), before + len(ok)
    return pa.concat_tables(taken or [schema.empty_table()]), np.concatenate([*rows, np.arange(0)]).astype(int)


def _columns(table: pa.Table) -> list[Column]:
    """Return what a page tells of galaxies beside their answers: measurements, the file, columns of one's own."""

    def real(name: str) -> np.ndarray:
        return table[name].to_numpy().astype(np.float64)

    names = table.column_names
    own = names[names.index("file_loc") + 1 : names.index("status")][:MAX_COLUMNS]
    columns = [
        Column("unlike training", real("farther_than") * 100, 0, True, "% of validation galaxies that are nearer"),
        Column("radius", real("petrosian_radius"), 1, True, "Petrosian radius, pixels of the file"),
        Column("x", real("x"), 1),
        Column("y", real("y"), 1),
        Column("distance", real("distance"), 2),
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
    """Say whether a column holds whole numbers that a browser's numbers can hold."""
    return pa.types.is_integer(column.type) and all(abs(value or 0) <= 2**53 for value in column.to_pylist())


def _spreads(table: pa.Table) -> dict[str, np.ndarray]:
    """Return the columns of a full table that pages show, (n, 37) each."""
    kinds = {"transforms": "spread_transforms", "models": "spread_models", "low68": "low68", "high68": "high68"}
    found = {}
    for key, ending in kinds.items():
        names = [f"{name.removesuffix('_fraction')}_{ending}" for name in answer_columns.FRACTIONS]
        if set(names) <= set(table.column_names):
            values = np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)
            if np.isfinite(values).any():
                found[key] = values
    return found


def build(
    parts: Iterable[pa.Table],
    schema: pa.Schema,
    pictures: Pictures | None = None,
    cards: Sequence[Card] = (),
    of_fields: Sequence[Field] = (),
) -> Page:
    """Return the page of a catalogue, whose tables are gone through twice.

    The `rows` of `of_fields` are numbers of rows of the catalogue; marks of rows that are not shown are left out.
    """
    weighted, summary = is_weighted(schema), _Summary()
    for table in parts:
        summary.add(table, weighted)
    table, rows = _shown(parts, schema, summary.num_ok)
    flags = FLAGS | FIELD_FLAGS if "object" in schema.names else FLAGS
    galaxies = Galaxies(
        names=table["id_str"].to_pylist(),
        votes=votes_of(table, weighted),
        pictures=list(pictures(rows.tolist())) if pictures else [None] * len(rows),
        columns=_columns(table),
        kind="weighted" if weighted else "conditional",
        spreads=_spreads(table),
        flags=table["flag"].to_numpy(),
        flag_words=flags,
        fields=[each.among(rows) for each in of_fields],
    )
    return Page(
        title=of_fields[0].title if len(of_fields) == 1 else "Galaxies",
        lead=_lead(summary, len(rows)),
        before=[_overview(summary, flags), *_farthest(galaxies)],
        galaxies=galaxies,
        galaxies_text="Sort by the headings or by any answer; choose a galaxy to see its tree and all its answers.",
        after=[*_unread(summary), _provenance(tables.provenance(schema), cards)],
    )


def _lead(summary: _Summary, num_shown: int) -> str:
    text = "1 galaxy" if summary.num_ok == 1 else f"{summary.num_ok:,} galaxies"
    if others := summary.not_judged.total():
        text += f", {others:,} other objects that are not judged"
    if unread := summary.num_unread:
        text += f", {unread:,} {'file' if unread == 1 else 'files'} that could not be read"
    if num_shown < summary.num_ok:
        text += f". {num_shown:,} of them, evenly spread, are listed here; all are in the table, and all are counted"
    return f"{text}."


def _overview(summary: _Summary, flags: dict[int, str]) -> Section:
    ways = [(way or "none", number) for way, number in summary.ways.most_common(MAX_WAYS)]
    if rest := len(summary.ways) - len(ways):
        ways.append((f"{rest} other ways", sum(summary.ways.values()) - sum(number for _, number in ways)))
    flagged = [(words, summary.flags[bit]) for bit, words in flags.items()]
    ranks = [(f"{10 * place} to {10 * place + 10} %", int(number)) for place, number in enumerate(summary.ranks)]
    shown: list[object] = [Bars("Flags: what to look at before a galaxy is believed", flagged)]
    if summary.not_judged:
        shown.append(Bars("Objects that are listed in the table, and not judged", summary.not_judged.most_common()))
    if summary.num_ok:
        mean = Tree(summary.votes / summary.num_ok, "Mean votes", "The mean votes of all galaxies, along the tree.")
        caption = (
            "Farther from the training images than so many of a hundred validation galaxies: images like those of "
            "the training fill these rows evenly"
        )
        shown = [mean, Bars("The likeliest ways through the tree", ways), Bars(caption, ranks), *shown]
    return Section("overview", "All together", shown)


def _farthest(galaxies: Galaxies) -> list[Section]:
    ranks = np.asarray(galaxies.columns[0].values)
    far = np.flatnonzero(galaxies.flags & FAR > 0)
    order = far[np.argsort(-np.nan_to_num(ranks[far], nan=np.inf), kind="stable")][:MAX_FARTHEST]
    if not len(order):
        return []
    text = (
        f"Farther from the training images than {FAR_FROM:.0%} of the validation galaxies, or no object was found: "
        "what the network says of them is not to be trusted. The farthest that are listed:"
    )
    return [Section("far", "Far from training", [Gallery(order.tolist())], text)]


def _unread(summary: _Summary) -> list[Section]:
    number = summary.num_unread
    if not number:
        return []
    caption = f"{len(summary.unread):,} of {number:,}" if number > len(summary.unread) else f"{number:,} in all"
    return [Section("unread", "Files that could not be read", [Table(caption, ("file", "reason"), summary.unread)])]


def _provenance(told: dict, cards: Sequence[Card]) -> Section:
    facts = [(name, str(value)) for name, value in told.items() if name not in ("models", "flags")]
    shown: list[object] = [Facts(facts)]
    models = [(each["name"], each["transforms"], each["sha256"]) for each in told.get("models", ())]
    shown.append(Table("The networks", ("name", "transforms", "SHA-256"), models))
    for card in cards:
        rows: list[tuple[str, object]] = []
        for name, value in card.facts.items():
            rows += value.items() if isinstance(value, dict) else [(name, value)]
        shown.append(Table(f"What {card.name} says of itself", ("what", "value"), rows))
    return Section("made", "How it was made", shown)


def draw(table: pa.Table, schema: pa.Schema, file: Path, recipe: Recipe, path: Path) -> None:
    """Draw the tree of a table's first row, beside what the network saw of its file; say so.

    Raises DataError where the row has no answers.
    """
    if table["status"][0].as_py() != OK:
        raise DataError(f"{file} {table['reason'][0].as_py()}; there is no tree to draw")
    frame = prepare(file, recipe)
    pixels = thumbnails.as_bytes(thumbnails.middle(frame.pixels, frame.frame_to_image)) if isinstance(frame, Frame) else None
    tree_figure.save(
        tree_figure.draw(votes_of(table, is_weighted(schema))[0], pixels, table["id_str"][0].as_py()), path
    )
    print(f"tree: {path}")
