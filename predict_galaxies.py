"""Catalogue your own images of galaxies: a folder, files, a list or a table in, a table of their appearance out.

The suffix of --output chooses the format: Parquet, CSV, FITS, ECSV, VOTable. A file that cannot be read is a row with
the reason. A killed run resumes with the same command. No torch is needed. From Python, call `catalogue`. See
doc/own_images.md, and doc/fields.md for images of many galaxies (--detect).
"""

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from machine.command_line import Parser, natural_int, positive_int, run_script, shard_of

from catalogue.framing import CHOICES
from galaxy.stretch import STRETCHES
from machine import products
from machine.files import DataError, first_line, shown

# Worker processes import this script, but frame images only: functions import what reads models and tables.
if TYPE_CHECKING:
    import pandas

    from catalogue.job import Catalogue

EXAMPLES = (
    "python predict_galaxies.py my_galaxies --output catalogue.parquet --report catalogue.html",
    "python predict_galaxies.py field.fits --detect --output field.parquet",
    "python predict_galaxies.py field.fits --at positions.csv --output known.parquet",
    "python predict_galaxies.py galaxy.png --output galaxy.csv --draw tree.pdf",
    "python predict_galaxies.py my_galaxies --model own.onnx --full --output catalogue.fits",
    "python predict_galaxies.py my_galaxies --shard 2/8 --output catalogue.parquet    # one of eight machines",
    "python predict_galaxies.py --merge catalogue.*of8.parquet --output catalogue.parquet",
    "python predict_galaxies.py my_galaxies --features --output catalogue.parquet --report catalogue.html",
    "python predict_galaxies.py --like 1237648720 ring.png --from catalogue.parquet --output nearest.parquet",
    "python predict_galaxies.py --labels labels.csv --from catalogue.parquet --output ranked.parquet",
)
KEPT = "finished parts of the catalogue are kept in a hidden folder beside it"
# Rows of a search.
LIMIT = 1_000
_SEARCH = ("tables", "like", "labels", "wanted", "limit")
_CHOICES = ("framing", "stretch", "weighted", "full", "detect", "features")


def catalogue(
    images: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    output: str | os.PathLike | None = None,
    model: str | os.PathLike | Sequence[str | os.PathLike] = (),
    views: int | None = None,
    root: str | os.PathLike = ".",
    detect: bool = False,
    framing: str = "auto",
    stretch: str | None = None,
    weighted: bool = False,
    full: bool = False,
    features: bool = False,
    report: str | os.PathLike | None = None,
    draw: str | os.PathLike | None = None,
    hdu: str | int | None = None,
    bands: Sequence[str] = (),
    at: str | os.PathLike | None = None,
    north_up: bool = False,
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    num_workers: int | None = None,
    threads: int | None = None,
) -> "pandas.DataFrame":
    """Catalogue images of galaxies, or with `detect` the galaxies in images of the sky; return a row for each.

        from predict_galaxies import catalogue
        table = catalogue("my_galaxies")                      # writes nothing
        table = catalogue("field.fits", detect=True, output="field.parquet", report="field.html")

    Arguments are the flags of the command: `images` is a folder, a file, a list, a table, or a sequence of these. Only
    named files are written: `output` (the table; overlays of fields and a sample beside it), `report` (a page), `draw`
    (the tree of a single galaxy). Without `overwrite` no file of somebody else is replaced.
    `hdu` (name or number) and `bands` ("zrg", or names; red first) choose what of FITS
    files is read. `at` is a table of positions in one field. `north_up` turns pictures of fields.
    `shard` is (index, number of shards). Positions and radii are pixels, counted from 0.
    `views` is the number of a model's transforms that are used, None as many as its card says.
    Worker processes are spawned: a script calls this below `if __name__ == "__main__"`, or with `num_workers=0`.

    Raises DataError, with one line, where the arguments, a model or a folder cannot be used.
    """
    from catalogue.columns import Choices
    from catalogue.job import catalogued
    from catalogue.request import Request

    detect = detect or at is not None
    choices = Choices(framing=framing, stretch=stretch, weighted=weighted, full=full, detect=detect, features=features)
    request = Request(
        images=_texts(images),
        choices=choices,
        output=_path(output),
        model=_texts(model),
        views=views,
        root=Path(root),
        report=_path(report),
        draw=_path(draw),
        hdu=None if hdu is None else str(hdu),
        bands=tuple(bands),
        at=_path(at),
        north_up=north_up,
        shard=shard,
        overwrite=overwrite,
        num_workers=num_workers,
        threads=threads,
    )
    with catalogued(request) as made:
        _show(made)
        return made.to_pandas()


def find_similar(
    tables: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    like: str | os.PathLike | Sequence[str | os.PathLike] = (),
    labels: str | os.PathLike | None = None,
    wanted: str | None = None,
    output: str | os.PathLike | None = None,
    limit: int = LIMIT,
    model: str | os.PathLike | Sequence[str | os.PathLike] = (),
    root: str | os.PathLike = ".",
    overwrite: bool = False,
) -> "pandas.DataFrame":
    """Search catalogues with features for galaxies `like` examples, or for those that `labels` describe.

        from predict_galaxies import find_similar
        rows = find_similar("catalogue.parquet", like="1237648720", limit=50)
        rows = find_similar(["a.parquet", "b.parquet"], labels="labels.csv", output="ranked.parquet")

    `tables` are Parquet files that were made with `features`, of any length. An example is the id_str of a row or an
    image; `labels` is a table of id_str and label (file_loc where ids repeat), `wanted` one of its labels (else the
    first one that is no refusal such as "other"). The best `limit` rows come first, without the examples and the
    labelled ones: columns `like_rank` and `like_distance`, or `like_score` and `like_probability`, then all columns of
    the catalogue. Raises DataError, with one line, where the arguments or a file cannot be used.
    """
    from catalogue.similar_rows import Search, find

    search = Search(
        tables=[Path(name) for name in _texts(tables)],
        like=_texts(like),
        labels=_path(labels),
        wanted=wanted,
        output=_path(output),
        limit=limit,
        model=_texts(model),
        root=Path(root),
        overwrite=overwrite,
    )
    return find(search).rows.to_pandas()


def _texts(names: str | os.PathLike | Sequence[str | os.PathLike]) -> list[str]:
    return [os.fspath(name) for name in ([names] if isinstance(names, (str, os.PathLike)) else names)]


def _path(name: str | os.PathLike | None) -> Path | None:
    return None if name is None else Path(name)


def _show(made: "Catalogue") -> None:
    """Write the page and draw the tree, where they are asked for; raises DataError where that fails."""
    if not (made.plan.request.report or made.plan.request.draw):
        return
    try:
        _draw(made)
    except (DataError, OSError):
        raise
    except Exception as error:  # the table is complete
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"the table is complete, but its page or tree cannot be drawn ({reason})") from None


def _draw(made: "Catalogue") -> None:
    request, schema = made.plan.request, made.plan.schema
    from report import catalogue_page, field_section, page  # a table needs neither templates nor figures

    if request.report:
        fields = field_section.field_pictures(made.fields, made.objects, request.choices.stretch) if made.fields else []
        cards = [model.card for model in made.plan.models]
        built = catalogue_page.build(made.rows, schema, made.rows.pictures, cards, fields, made.num_judged)
        page.write(built, request.report, made.plan.source)
    if request.draw:
        [picture] = made.rows.pictures([0])
        catalogue_page.draw(next(iter(made.rows)), schema, picture, request.draw, made.plan.source)


def _bands(text: str) -> tuple[str, ...]:
    """Return the bands of a flag: `z,r,g`."""
    return tuple(band.strip() for band in text.split(",") if band.strip())


def _search(args: argparse.Namespace) -> None:
    """Search catalogues, say how the rows are ranked, and where they are."""
    if args.report or args.draw or args.shard:
        raise DataError("expected --like and --labels without --report, --draw and --shard; they rank rows")
    from catalogue.similar_rows import Search, find

    names = (*_SEARCH, "output", "model", "root", "overwrite")
    found = find(Search(**{name: getattr(args, name) for name in names}))
    print(f"ranked {found.note}")
    print(f"wrote {len(found.rows)} rows to {shown(args.output)}")


def _run(args: argparse.Namespace) -> None:
    """Run the command: a catalogue, a merge of shards, or a search in catalogues."""
    if sum(map(bool, (args.images, args.merge, args.like or args.labels))) != 1:
        raise DataError("expected images, or --merge with the tables of shards, or --like or --labels with --from")
    if bool(args.tables) != bool(args.like or args.labels):
        raise DataError("expected --from with --like or --labels; it names the catalogues to search")
    if args.tables:
        _search(args)
        return
    from catalogue.columns import Choices
    from catalogue.job import catalogued, merge
    from catalogue.request import Request

    if args.merge:
        if args.report or args.draw:
            raise DataError("expected --merge without --report and --draw; make the page from the images, in one run")
        print(f"wrote {merge(args.merge, args.output, args.overwrite)} rows to {shown(args.output)}")
        return
    others = ("merge", *_SEARCH)
    flags = {name: value for name, value in vars(args).items() if name not in others}
    flags["detect"] = args.detect or args.at is not None
    choices = Choices(**{name: flags.pop(name) for name in _CHOICES})
    existed = args.output.is_file()
    with catalogued(Request(choices=choices, **flags)) as made:
        if existed:
            print(f"{shown(args.output)} existed; the new table replaced it")
        _show(made)
        for note, count in made.notes.most_common(3):
            print(f"{count} images: {note}")
        unreadable = f"; {made.num_unreadable} could not be read (see column reason)" if made.num_unreadable else ""
    for title, path in (("report", args.report), ("tree", args.draw)):
        if path:
            print(f"{title}: {shown(path)}")
    print(f"wrote {len(made)} rows to {shown(made.plan.output)}{unreadable}")


def main() -> None:
    """Run the script."""
    parser = Parser(__doc__, examples=EXAMPLES)
    group = parser.group("input")
    group.add_argument("images", nargs="*", help="a folder, files, a list (.txt), or a table with id_str and file_loc")
    group.add_argument("--detect", action="store_true", help="images of the sky: detect galaxies and catalogue each")
    group.add_argument(
        "--at", type=Path, metavar="TABLE", help="classify these positions (x, y or ra, dec) of one image of the sky"
    )
    group.add_argument(
        "--framing",
        choices=CHOICES,
        default="auto",
        help="auto (default): find the galaxy and scale the image to its size; sdss: take the image as it is",
    )
    group.add_argument(
        "--stretch",
        choices=STRETCHES,
        help="brightness scaling of FITS and floating-point images (default: asinh)",
    )
    group.add_argument("--hdu", metavar="HDU", help="of FITS files, read this HDU: a number, NAME, or NAME,VERSION")
    group.add_argument(
        "--bands",
        type=_bands,
        default=(),
        metavar="R,G,B",
        help="of FITS files, read these bands, red first: names or numbers; {band} in a file's name stands for each",
    )
    group = parser.group("output")
    group.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="catalogue.parquet, .csv, .fits, .ecsv or .vot"
    )
    group.add_argument("--report", type=Path, metavar="HTML", help="also write a web page, one file")
    group.add_argument("--north-up", action="store_true", help="turn pictures of fields north up, east left")
    group.add_argument(
        "--draw", type=Path, metavar="FILE", help="draw the decision tree of one galaxy: .png, .svg, .pdf"
    )
    group.add_argument(
        "--weighted", action="store_true", help="fractions weighted down the tree, as in Kaggle's tables"
    )
    group.add_argument(
        "--full", action="store_true", help="add columns of uncertainty: spreads over transforms and models, intervals"
    )
    group.add_argument(
        "--features",
        action="store_true",
        help="add the network's features, by which --like and --labels find similar galaxies",
    )
    group.add_argument(products.FLAG, action="store_true", help=products.HELP)
    group = parser.group("model")
    group.add_argument(
        "--model", nargs="+", default=[], metavar="NAME", help="names or .onnx files (default: the one in models/)"
    )
    group.add_argument(
        "--root",
        type=Path,
        default=".",
        metavar="DIR",
        help="folder whose models/ is searched for --model NAME (default: here)",
    )
    group.add_argument(
        "--views",
        type=positive_int,
        metavar="N",
        help="views of each galaxy, 1 to the number of the model's transforms (default: as its card says); "
        "more are more accurate and slower",
    )
    group = parser.group("speed")
    group.add_argument(
        "--num-workers", type=natural_int, metavar="N", help="processes that read images (default: cores)"
    )
    group.add_argument("--threads", type=positive_int, metavar="N", help="threads of the network (default: cores)")
    group = parser.group("large runs")
    group.add_argument(
        "--shard", type=shard_of, metavar="I/N", help="only shard I of N; each shard writes its own table"
    )
    group.add_argument(
        "--merge", nargs="+", type=Path, metavar="FILE", help="merge the tables of all shards into --output"
    )
    group = parser.group("rare galaxies")
    group.add_argument(
        "--like",
        nargs="+",
        default=[],
        metavar="ID_OR_IMAGE",
        help="rank the rows of --from by distance to these",
    )
    group.add_argument(
        "--labels", type=Path, metavar="TABLE", help="rank the rows of --from by a fit to labels (id_str, label)"
    )
    group.add_argument(
        "--from", dest="tables", nargs="+", type=Path, default=[], metavar="FILE", help="catalogues with --features"
    )
    group.add_argument(
        "--wanted", metavar="LABEL", help='the label that is looked for (default: the first that is none like "other")'
    )
    group.add_argument(
        "--limit", type=positive_int, default=LIMIT, metavar="N", help="write the best N rows (default: %(default)s)"
    )
    args = parser.parse_args()

    def run() -> None:
        with contextlib.suppress(BrokenPipeError):
            _run(args)

    run_script(run, KEPT)


if __name__ == "__main__":
    main()
