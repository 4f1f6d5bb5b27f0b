"""Catalogue own images of galaxies: a folder, files, a list or a table in, a table of what they look like out.

    python predict_galaxies.py my_galaxies --output catalogue.parquet

    python predict_galaxies.py field.fits --detect --output catalogue.parquet

The table is Parquet, CSV, FITS or ECSV, by the name of --output; a file that can not be read is a row with the reason.
What is killed goes on when it is started again. No torch is needed. See doc/own_images.md, and
doc/fields.md for images of many galaxies (--detect).
"""

import argparse
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from catalogue.field_cutouts import Place
from catalogue.field_overlays import regions_of, show_fields
from catalogue.field_sources import MOST_WORKERS, rows_of
from catalogue.flags import UNREADABLE
from catalogue.framing import CHOICES
from catalogue.inputs import find
from catalogue.model_file import Model
from catalogue.read_ahead import Recipe
from catalogue.row_store import Parts
from catalogue.rows import Choices, identity, make_parts, radius_of, schema_of
from catalogue.table_shards import Together, noted, shard_path, shards_beside
from galaxy.stretch import STRETCHES
from machine import table_writers, tables
from machine.command_line import check_figure_name, check_page_name, natural_int, positive_int, run_script, shard_of
from machine.cores import available_cores
from machine.files import DataError
from machine.locks import alone
from machine.shared_folders import touch

MODELS = Path(__file__).resolve().parent / "models"
SAMPLE_ROWS = 100


def find_models(names: list[str], root: Path) -> list[Path]:
    """Return model files: as they are named, or by name from the models of `root` or of this project."""
    if not names:
        found = sorted(MODELS.glob("*.onnx"))
        if len(found) != 1:
            raise DataError(f"expected one model in {MODELS}, found {len(found)}; name one with --model")
        return found
    return [_find_model(name, root) for name in names]


def _find_model(name: str, root: Path) -> Path:
    if Path(name).suffix == ".onnx":
        return Path(name)
    places = [folder / f"{name}.onnx" for folder in (root / "models", MODELS)]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"expected a model {places[0]}, which is missing; run export_model.py {name} first, or name a file")


def check_output(path: Path) -> None:
    """Raise DataError where no table can be written there."""
    if path.suffix not in tables.SUFFIXES:
        raise DataError(f"expected an --output that ends with {', '.join(tables.SUFFIXES)}, got {path}")
    if path.is_dir():
        raise DataError(f"--output {path} is a folder; name a file in it")


def check_shown(args: argparse.Namespace) -> None:
    """Raise DataError where what is to be shown can not be."""
    if args.merge and (args.report or args.draw):
        raise DataError("expected --merge without --report and --draw; make the page from the images, in one run")
    if args.draw and args.detect:
        raise DataError("expected --draw without --detect; the tree of each galaxy of a field is in its --report")
    if args.shard and args.draw:
        raise DataError("expected --draw without --shard; draw one galaxy at a time")
    if args.report:
        check_page_name(args.report)
    if args.draw:
        check_figure_name(args.draw)


def sample_beside(output: Path) -> Path:
    """Return where the sample goes: sample.csv beside the catalogue, unless that is a file of someone else's."""
    path = output.with_name("sample.csv")
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(15) != b"id_str,file_loc":
            return output.with_name(f"{output.stem}.sample.csv")
    return path


def written_beside(output: Path) -> list[Path]:
    """Return what this command writes for a catalogue, or has written: none of it is an input."""
    pictures = [each for region in regions_of(output) for each in (region, region.with_suffix(".jpg"))]
    return [
        output,
        sample_beside(output),
        output.with_name(f"{output.name}-metadata.json"),
        *shards_beside(output),
        *pictures,
    ]


def write_all(output: Path, schema: pa.Schema, parts: Iterable[pa.Table], num_rows: int) -> None:
    """Write the catalogue, and a sample of its first rows beside it."""
    table_writers.write(output, schema, parts, num_rows)
    head = next(iter(parts), schema.empty_table())[:SAMPLE_ROWS]
    table_writers.write_sample(sample_beside(output), head)


def predict(args: argparse.Namespace) -> None:
    """Catalogue what the command line names."""
    output = args.output
    told = {name: getattr(args, name) for name in ("framing", "stretch", "weighted", "full", "detect")}
    choices = Choices(**told)
    shown = [path for path in (args.report, args.draw) if path]
    inputs = find(args.images, [*written_beside(output), *shown])
    if args.draw and len(inputs) != 1:
        raise DataError(f"expected one image to --draw, got {len(inputs)}; name one, or make a --report")
    number, of = args.shard or (1, 1)
    if args.shard:
        output = shard_path(output, number, of)
    own = inputs.part((number - 1) * len(inputs) // of, number * len(inputs) // of)
    models = [Model(path, args.threads) for path in find_models(args.model, Path(args.root))]
    if args.detect:
        inputs, own = replace(inputs, passed={}), replace(own, passed={})
    passed = [each for each, _ in tables.passed_fields(inputs.passed, schema_of(models, choices, []).names)]
    schema = schema_of(models, choices, passed)
    if args.shard:
        schema = noted(schema, number, of, identity(inputs, schema))
    with alone(output.with_name(f".{output.name}.lock"), f"the catalogue {output}"):
        parts = Parts(output, identity(own, schema), len(own))
        num_workers = available_cores() if args.num_workers is None else args.num_workers
        if args.detect:
            own = rows_of(own, parts.folder, num_workers)
            parts.num_rows, num_workers = len(own), min(num_workers, MOST_WORKERS)
        make_parts(own, models, choices, parts, schema, min(num_workers, len(own)))
        write_all(output, schema, parts, len(own))
        if args.detect:
            show_fields(output, own, parts, choices.stretch)
        show(args, own.paths, models, parts, schema, num_workers)
        unread = sum(int((table["status"].to_numpy() == UNREADABLE).sum()) for table in parts)
        parts.remove()
    print(f"wrote {len(own)} rows to {output}" + (f", {unread} of files that could not be read" if unread else ""))


def show(
    args: argparse.Namespace,
    paths: Sequence[Path | Place],
    models: Sequence[Model],
    parts: Iterable[pa.Table],
    schema: pa.Schema,
    num_workers: int,
) -> None:
    """Write the page and draw the tree, where they are asked for."""
    if not args.report and not args.draw:
        return
    from report import catalogue_page, field_section, page  # templates and figures, which a table does not need

    recipe = Recipe(args.stretch, args.framing, radius_of(models))
    if args.report:
        pictures = catalogue_page.pictures_of(paths, recipe, num_workers)
        fields = field_section.fields_of(paths, parts, args.stretch) if args.detect else []
        page.write(catalogue_page.build(parts, schema, pictures, [each.card for each in models], fields), args.report)
        print(f"report: {args.report}")
    if args.draw:
        catalogue_page.draw(next(iter(parts)), schema, paths[0], recipe, args.draw)


def merge(args: argparse.Namespace) -> None:
    """Put the tables of all shards together."""
    together = Together(list(map(Path, args.merge)))
    write_all(args.output, together.schema, together, together.num_rows)
    print(f"wrote {together.num_rows} rows to {args.output}")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("images", nargs="*", help="a folder, files, a list (.txt), or a table with id_str and file_loc")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="catalogue.parquet, .csv, .fits, .ecsv"
    )
    parser.add_argument(
        "--model", nargs="+", default=[], metavar="NAME", help="names or .onnx files (default: the one in models/)"
    )
    parser.add_argument("--root", default=".", metavar="DIR", help="whose models/ are sought by name (default: here)")
    parser.add_argument(
        "--detect", action="store_true", help="images are fields: find the galaxies in them, and catalogue each"
    )
    parser.add_argument(
        "--framing",
        choices=CHOICES,
        default="auto",
        help="auto finds the galaxy and scales to it; sdss takes images as they are",
    )
    parser.add_argument(
        "--stretch", choices=STRETCHES, help="of light counted linearly (default: asinh for FITS and floats)"
    )
    parser.add_argument("--weighted", action="store_true", help="fractions as Kaggle has them, weighted down the tree")
    parser.add_argument("--full", action="store_true", help="also spreads over transforms and models, and intervals")
    parser.add_argument("--report", type=Path, metavar="HTML", help="also a page to look through, one file")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw the tree of one galaxy: .png, .svg, .pdf")
    parser.add_argument(
        "--shard", type=shard_of, metavar="I/N", help="only part I of N; each writes a table of its own"
    )
    parser.add_argument(
        "--merge", nargs="+", metavar="FILE", help="put the tables of all shards together into --output"
    )
    parser.add_argument(
        "--num-workers", type=natural_int, metavar="N", help="processes that read images (default: cores)"
    )
    parser.add_argument("--threads", type=positive_int, metavar="N", help="of the network (default: cores)")
    args = parser.parse_args()

    def run() -> None:
        check_output(args.output)
        check_shown(args)
        if bool(args.images) == bool(args.merge):
            raise DataError("expected images, or --merge with the tables of shards")
        if args.detect and args.framing != "auto":
            raise DataError("--detect frames each galaxy by its size; leave --framing out")
        named = map(Path, args.images)
        for place in {args.output.parent, *(path.parent if path.suffix else path for path in named)}:
            touch(place)
        with contextlib.suppress(BrokenPipeError):
            (merge if args.merge else predict)(args)

    run_script(run)


if __name__ == "__main__":
    main()
