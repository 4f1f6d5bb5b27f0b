"""What a user asks of a catalogue: the flags of predict_galaxies.py as values, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machine.command_line import check_figure_name, check_page_name

from catalogue.columns import Choices
from catalogue.field_overlays import overlay_paths, overlays_beside
from catalogue.framing import CHOICES
from catalogue.table_shards import shards_beside
from galaxy.stretch import STRETCHES
from machine import table_writers, tables
from machine.files import DataError
from machine.products import Product, is_own
from machine.shared_folders import touch

MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for: the images, the choices of the columns, the files to be written, the processors.

    `output` None: no table is written. `shard` (2, 8): the second of eight shards. `hdu` and `bands` (red first) choose
    what of FITS files is read. `at` is a table of positions in one field, which are classified in place of detected
    objects. `north_up` turns pictures of fields. `views` of each model's transforms are used; None: as many as
    its card says.
    """

    images: Sequence[str]
    choices: Choices
    output: Path | None = None
    model: Sequence[str] = ()
    views: int | None = None
    root: Path = Path(".")
    report: Path | None = None
    draw: Path | None = None
    hdu: str | None = None
    bands: tuple[str, ...] = ()
    at: Path | None = None
    north_up: bool = False
    shard: tuple[int, int] | None = None
    overwrite: bool = False
    num_workers: int | None = None
    threads: int | None = None

    def check(self) -> None:
        """Raise DataError where the parts of the request contradict each other or a folder does not answer."""
        if self.output:
            check_output(self.output)
        if self.draw and self.choices.detect:
            raise DataError("expected --draw without --detect; the tree of each galaxy of a field is in its --report")
        if self.north_up and not self.choices.detect:
            raise DataError("expected --north-up with --detect or --at; it turns the pictures of fields")
        if self.at and self.shard:
            raise DataError("expected --at without --shard; it reads one field")
        if self.draw and self.shard:
            raise DataError("expected --draw without --shard; draw one galaxy at a time")
        if self.shard and not self.output:
            raise DataError("expected --shard with --output, the name of the whole catalogue; name it")
        if self.report:
            check_page_name(self.report)
        if self.draw:
            check_figure_name(self.draw)
        if not self.images:
            raise DataError("expected images, got none; name a folder, files, a list or a table")
        if self.choices.framing not in CHOICES:
            raise DataError(f"expected a framing of {', '.join(CHOICES)}, got {self.choices.framing!r}; name one")
        if self.choices.stretch not in (None, *STRETCHES):
            raise DataError(f"expected a stretch of {', '.join(STRETCHES)}, got {self.choices.stretch!r}; name one")
        if self.choices.detect and self.choices.framing != "auto":
            raise DataError("--detect frames each galaxy by its size; leave --framing out")
        if len(self.bands) not in (0, 1, 3):
            raise DataError(f"expected one or three --bands, red first, got {','.join(self.bands)}; name z,r,g")
        folders = {path.parent if path.suffix else path for path in map(Path, self.images)}
        for folder in folders | ({self.output.parent} if self.output else set()):
            touch(folder)

    def written(self) -> list[Path]:
        """Return the files of this project that this request replaces or that stand beside: these are not inputs."""
        products = [Product(path) for path in (self.report, self.draw) if path]
        if not self.output:
            return [product.path for product in products if is_own(product)]
        for table in (self.output, *shards_beside(self.output)):
            products += table_products(table)
        return [*(product.path for product in products if is_own(product)), *overlays_beside(self.output)]

    def products(self, output: Path, fields: Sequence[Path], source: str) -> list[Product]:
        """Return the files that this request writes: the table `output`, the overlays of `fields`, a page, a figure."""
        products = [Product(path, source) for path in (self.report, self.draw) if path]
        if self.output:
            products += table_products(output, source)
            beside = table_writers.source_beside(output, source)
            products += [Product(path, beside) for pair in overlay_paths(output, fields) for path in pair]
        return products


def check_output(path: Path) -> None:
    """Raise DataError where a table cannot be written."""
    if path.suffix not in tables.SUFFIXES:
        raise DataError(f"expected an --output that ends with {', '.join(tables.SUFFIXES)}, got {path}; rename it")
    if path.is_dir():
        raise DataError(f"--output {path} is a folder; name a file in it")


def sample_beside(output: Path) -> Path:
    """Return the path of the sample of a catalogue: its first rows as CSV."""
    return output.with_name(f"{output.stem}.sample.csv")


def table_products(output: Path, source: str | None = None) -> list[Product]:
    """Return a table of a catalogue and its sample."""
    return [*table_writers.products(output, source), table_writers.sample_product(sample_beside(output), output)]


def find_models(names: Sequence[str], root: Path) -> list[Path]:
    """Return model files: `.onnx` files as named, other names from the models of `root` or of this project."""
    if names:
        return [_find_model(name, root) for name in names]
    models = sorted(MODELS.glob("*.onnx"))
    if len(models) != 1:
        raise DataError(f"expected one model in {MODELS}, found {len(models)}; name one with --model")
    return models


def _find_model(name: str, root: Path) -> Path:
    if Path(name).suffix == ".onnx":
        return Path(name)
    candidates = [folder / f"{name}.onnx" for folder in (root / "models", MODELS)]
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        f"expected a model {candidates[0]}, which is missing; run export_model.py {name} first, or name a file"
    )
