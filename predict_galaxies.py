"""Catalogue own images of galaxies: a folder, files, a list or a table in, a table of what they look like out.

    python predict_galaxies.py my_galaxies --output catalogue.parquet

The table is Parquet, CSV, FITS or ECSV, by the name of --output; a file that can not be read is a row with the reason.
What is killed goes on when it is started again. No torch is needed. See doc/own_images.md.
"""

import argparse
import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from catalogue import tables
from catalogue.framing import CHOICES
from catalogue.inputs import find
from catalogue.model_file import Model
from catalogue.parts import Parts
from catalogue.predicting import Choices, identity, make_parts, radius_of, schema_of
from catalogue.preparing import Recipe
from catalogue.stretch import STRETCHES
from machine.command_line import natural_int, positive_int, run_script
from machine.files import DataError, first_line
from machine.locks import alone
from machine.processes import available_cores
from machine.signals import ending_in_order
from report.names import check_figure_name, check_page_name

MODELS = Path(__file__).resolve().parent / "models"
SAMPLE_ROWS = 100


def shard(text: str) -> tuple[int, int]:
    """Read "2/8" from a command line."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected I/N, such as 2/8, got {text}")
    return int(match[1]), int(match[2])


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


def write_all(output: Path, schema: pa.Schema, parts: Iterable[pa.Table], num_rows: int) -> None:
    """Write the catalogue, and a sample of its first rows beside it."""
    tables.write(output, schema, parts, num_rows)
    head = next(iter(parts), schema.empty_table())[:SAMPLE_ROWS]
    tables.write_sample(sample_beside(output), head)


def predict(args: argparse.Namespace) -> None:
    """Catalogue what the command line names."""
    output, sample = args.output, sample_beside(args.output)
    choices = Choices(framing=args.framing, stretch=args.stretch, weighted=args.weighted, full=args.full)
    shown = [path for path in (args.report, args.draw) if path]
    inputs = find(args.images, [output, sample, output.with_name(f"{output.name}-metadata.json"), *shown])
    if args.draw and len(inputs) != 1:
        raise DataError(f"expected one image to --draw, got {len(inputs)}; name one, or make a --report")
    number, of = args.shard or (1, 1)
    if args.shard:
        output = output.with_name(f"{output.stem}.{number}of{of}.parquet")
    own = inputs.part((number - 1) * len(inputs) // of, number * len(inputs) // of)
    models = [Model(path, args.threads) for path in find_models(args.model, Path(args.root))]
    passed = [each for each, _ in tables.passed_fields(inputs.passed, schema_of(models, choices, []).names)]
    schema = schema_of(models, choices, passed)
    if args.shard:
        noted = f"{number}/{of} {identity(inputs, schema)}".encode()
        schema = schema.with_metadata({**schema.metadata, b"shard": noted})
    with alone(output.with_name(f".{output.name}.lock"), f"the catalogue {output}"):
        parts = Parts(output, identity(own, schema), len(own))
        num_workers = available_cores() if args.num_workers is None else args.num_workers
        make_parts(own, models, choices, parts, schema, min(num_workers, len(own)))
        write_all(output, schema, parts, len(own))
        show(args, own.paths, models, parts, schema, num_workers)
        unread = sum(int((table["status"].to_numpy() != "ok").sum()) for table in parts)
        parts.remove()
    print(f"wrote {len(own)} rows to {output}" + (f", {unread} of files that could not be read" if unread else ""))


def show(
    args: argparse.Namespace,
    paths: Sequence[Path],
    models: Sequence[Model],
    parts: Iterable[pa.Table],
    schema: pa.Schema,
    num_workers: int,
) -> None:
    """Write the page and draw the tree, where they are asked for."""
    if not args.report and not args.draw:
        return
    from report import of_catalogue, page  # templates and figures, which a table does not need

    recipe = Recipe(args.stretch, args.framing, radius_of(models))
    if args.report:
        pictures = of_catalogue.pictures_of(paths, recipe, num_workers)
        page.write(of_catalogue.build(parts, schema, pictures, [each.card for each in models]), args.report)
        print(f"report: {args.report}")
    if args.draw:
        of_catalogue.draw(next(iter(parts)), schema, paths[0], recipe, args.draw)


def merge(args: argparse.Namespace) -> None:
    """Put the tables of all shards together."""
    shards: dict[int, Path] = {}
    noted = set()
    for path in map(Path, args.merge):
        try:
            schema = parquet.read_schema(path)
            match = re.fullmatch(rb"(\d+)/(\d+) (\w+)", (schema.metadata or {}).get(b"shard", b""))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} is no table of a --shard ({first_line(error)}); name those") from None
        if match is None:
            raise DataError(f"{path} is no table of a --shard; name those")
        noted.add((match[2], match[3]))
        shards[int(match[1])] = path
    if len(noted) != 1:
        raise DataError("expected shards of one run, got those of several; make them with the same images and options")
    [(of, _)] = noted
    if missing := sorted(set(range(1, int(of) + 1)) - set(shards)):
        raise DataError(f"expected {int(of)} shards, but {missing[0]}/{int(of)} is missing; make it, or name it")
    files = [shards[number] for number in sorted(shards)]
    schema = parquet.read_schema(files[0])
    schema = schema.with_metadata({name: value for name, value in schema.metadata.items() if name != b"shard"})
    num_rows = sum(parquet.read_metadata(path).num_rows for path in files)
    write_all(args.output, schema, _Batches(files, schema), num_rows)
    print(f"wrote {num_rows} rows to {args.output}")


class _Batches:
    """The tables of several files, some rows at a time, as often as is asked."""

    def __init__(self, files: list[Path], schema: pa.Schema):
        self.files, self.schema = files, schema

    def __iter__(self) -> Iterable[pa.Table]:
        for path in self.files:
            with parquet.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    yield file.read_row_group(number).cast(self.schema)


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
    parser.add_argument("--shard", type=shard, metavar="I/N", help="only part I of N; each writes a table of its own")
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
        with ending_in_order(), contextlib.suppress(BrokenPipeError):
            (merge if args.merge else predict)(args)

    run_script(run)


if __name__ == "__main__":
    main()
