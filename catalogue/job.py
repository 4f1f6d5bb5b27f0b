"""A catalogue in three phases: plan (inputs, models, columns), make (rows), publish (table, sample, overlays).

Nothing is computed before the plan is complete, so that a wrong request ends at once. Rows are resumable: a killed job
that is started again makes the missing parts only.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import compute

from catalogue import field_overlays, field_tiles
from catalogue.columns import schema_of
from catalogue.field_positions import Positions, read_positions, rows_at
from catalogue.field_sources import MAX_WORKERS, FieldRows, rows_of_fields
from catalogue.flags import OK, UNREADABLE
from catalogue.inputs import Inputs, choose_images, find, with_every_image
from catalogue.model_file import Model
from catalogue.request import Request, check_output, find_models, sample_beside, table_products
from catalogue.row_store import RowStore
from catalogue.rows import identity, make_rows, source_of
from catalogue.table_shards import MergedShards, shard_path, with_shard_note
from galaxy import thumbnails
from galaxy.image_names import chosen
from machine import products, table_writers
from machine.cores import available_cores
from machine.files import DataError
from machine.locks import alone
from machine.passed_columns import passed_fields
from machine.shared_folders import touch

if TYPE_CHECKING:
    import pandas

SAMPLE_ROWS = 100


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is decided before the first row: the inputs of this shard, the models, the columns, the table's path.

    `source` is that of the seals of all products.
    """

    request: Request
    inputs: Inputs
    models: Sequence[Model]
    schema: pa.Schema
    output: Path
    source: str
    positions: Positions | None = None

    def check_products(self) -> None:
        """Raise DataError where a product would replace an input, or a file of somebody else or of other inputs."""
        fields = self.fields if self.request.choices.detect else []
        inputs = [*self.inputs.files(), *(path for model in self.models for path in model.files)]
        inputs += [Path(self.request.at)] if self.request.at else []
        products.check(self.request.products(self.output, fields, self.source), inputs, self.request.overwrite)

    @property
    def fields(self) -> list[Path]:
        """The images of the sky."""
        return [target.path for target in self.inputs.targets]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The rows of a plan, complete. They are on disk until the job ends."""

    plan: Plan
    rows: RowStore
    fields: Sequence[FieldRows]

    def __len__(self) -> int:
        return self.rows.num_rows

    @cached_property
    def statuses(self) -> Counter:
        """Count of rows by status."""
        return Counter(status for table in self.rows.tables(["status"]) for status in table["status"].to_pylist())

    @property
    def num_judged(self) -> int:
        """Count of rows with answers."""
        return self.statuses[OK]

    @property
    def num_unreadable(self) -> int:
        """Count of rows whose file could not be read."""
        return self.statuses[UNREADABLE]

    @cached_property
    def notes(self) -> Counter:
        """Count of rows with answers by what of their files was not read; none for fields, which print it."""
        counts: Counter = Counter()
        if self.plan.request.choices.detect:
            return counts
        for table in self.rows.tables(["status", "reason"]):
            counts.update(table.filter(compute.field("status") == OK)["reason"].to_pylist())
        return Counter({note: count for note, count in counts.items() if note})

    @cached_property
    def objects(self) -> pa.Table:
        """Positions, sizes, classes and fractions of all objects of fields, and their status."""
        return pa.concat_tables(self.rows.tables(["status", *field_overlays.COLUMNS]))

    def to_pandas(self) -> "pandas.DataFrame":
        """Return all rows as a DataFrame."""
        return pa.concat_tables([self.plan.schema.empty_table(), *self.rows]).to_pandas()


def plan(request: Request, output: Path) -> Plan:
    """Find the inputs and the models of a request; raises DataError where it cannot be fulfilled."""
    request.check()
    choices = request.choices
    names = [chosen(name, bands=request.bands) if "{band}" in name else name for name in request.images]
    inputs = choose_images(find(names, request.written()), request.hdu, request.bands)
    if choices.detect:
        inputs = with_every_image(inputs)
    if request.draw and len(inputs) != 1:
        raise DataError(f"expected one image to --draw, got {len(inputs)}; name one, or make a --report")
    models = [Model(path, request.threads, request.views) for path in find_models(request.model, request.root)]
    positions = read_positions(request.at) if request.at else None
    if positions and len(inputs) != 1:
        raise DataError(f"expected one image with --at, got {len(inputs)}; name one, such as field.fits[SCI,1]")
    # Columns of the user's table; of a table of fields, none describes an object.
    known = positions.known if positions else {} if choices.detect else inputs.known
    passed = passed_fields(known, schema_of(models, choices, []).names)
    light_unit = field_tiles.light_unit(target.path for target in inputs.targets) if choices.detect else ""
    schema = schema_of(models, choices, [column for column, _ in passed], light_unit)
    known = {column.name: values for column, values in passed}
    inputs = replace(inputs, known={} if positions else known)
    positions = replace(positions, known=known) if positions else None
    source = source_of(inputs, schema)
    if request.shard:
        index, num_shards = request.shard
        schema = with_shard_note(schema, index, num_shards, identity(inputs, schema), source)
        inputs = inputs.rows((index - 1) * len(inputs) // num_shards, index * len(inputs) // num_shards)
        output = shard_path(output, index, num_shards)
    return Plan(request, inputs, models, schema, output, source, positions)


def make(planned: Plan) -> Catalogue:
    """Make the rows that are missing; objects of fields are detected first."""
    request, inputs, fields = planned.request, planned.inputs, []
    with_pictures = bool(request.report or request.draw)
    positions = planned.positions
    run = identity(inputs, planned.schema) + (f" at {positions.digest}" if positions else "")
    rows = RowStore(planned.output, run, len(inputs), with_pictures)
    num_workers = available_cores() if request.num_workers is None else request.num_workers
    num_pictures = len(inputs)
    if request.choices.detect:
        if positions:
            inputs, fields = rows_at(inputs, positions, rows.folder, num_workers)
        else:
            inputs, fields = rows_of_fields(inputs, rows.folder, num_workers)
        rows.num_rows, num_workers = len(inputs), min(num_workers, MAX_WORKERS)
        num_pictures = int(np.sum(inputs.known["object"] == "galaxy"))
    make_rows(
        inputs,
        planned.models,
        request.choices,
        planned.schema,
        rows,
        min(num_workers, len(inputs)),
        thumbnails.share(num_pictures, thumbnails.most_shown(request.choices.features)),
    )
    return Catalogue(planned, rows, fields)


def publish(made: Catalogue) -> None:
    """Write the table, its sample, and the overlays of fields."""
    planned = made.plan
    planned.check_products()  # again: the work may have taken days
    write_table(planned.output, planned.schema, made.rows, len(made), planned.source)
    if made.fields:
        overlays, request = field_overlays.overlay_paths(planned.output, planned.fields), planned.request
        arguments = overlays, made.fields, made.objects, request.choices.stretch, request.north_up, planned.source
        field_overlays.write_overlays(*arguments)


@contextlib.contextmanager
def catalogued(request: Request) -> Iterator[Catalogue]:
    """Plan, make and publish a catalogue; its rows exist until the block ends. Raises DataError.

    Without an output nothing is published, and the rows are in a temporary folder.
    """
    with contextlib.ExitStack() as stack:
        output = request.output
        if output is None:
            output = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="catalogue-")), "catalogue.parquet")
        planned = plan(request, output)
        output = planned.output
        planned.check_products()
        stack.enter_context(alone(output.with_name(f".{output.name}.lock"), f"the catalogue {output}"))
        made = make(planned)
        if request.output:
            publish(made)
        yield made
        made.rows.remove()


def write_table(output: Path, schema: pa.Schema, parts: Iterable[pa.Table], num_rows: int, source: str) -> None:
    """Write a catalogue, and its first rows as a sample beside it."""
    table_writers.write(output, schema, parts, num_rows, source)
    head = next(iter(parts), schema.empty_table())[:SAMPLE_ROWS]
    table_writers.write_sample(sample_beside(output), head, output)


def merge(shards: Sequence[Path], output: Path, overwrite: bool = False) -> int:
    """Merge the tables of all shards into one; return the number of rows. Raises DataError."""
    check_output(output)
    touch(output.parent)
    merged = MergedShards(shards)
    products.check(table_products(output, merged.source), shards, overwrite)
    with alone(output.with_name(f".{output.name}.lock"), f"the catalogue {output}"):
        write_table(output, merged.schema, merged, merged.num_rows, merged.source)
    return merged.num_rows
