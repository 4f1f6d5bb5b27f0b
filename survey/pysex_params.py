"""SExtractor's measurements of all galaxies of a survey: in parallel, and resumable.

Source: documentation of 2014, 2.1.5 and 3.4.
"""

from functools import partial
from pathlib import Path

import numpy as np

from galaxy.affine import CENTRE
from galaxy.photometry import find_galaxy, flux_radius, fwhm, kron_radius, petrosian_radius
from machine.command_line import positive_int, script_parser
from machine.files import DataError, load_array, remove_leftovers, save_array, save_gz
from machine.processes import mapping
from machine.progress import showing
from survey import folders, images
from survey.centering import Catalogue
from survey.folders import SUBSETS, use_folders

IMAGES_A_SAVE = 400


def measure(channel: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """Measure the galaxy in an image's green channel (rows, columns): `catalogue.columns`, (columns,) float64.

    x, y are pixels counted from 1 as SExtractor counts them; a, b, flux_radius, fwhm are pixels; kron_radius and
    petro_radius are in units of a; theta is in degrees, 0 to 180. Without any object: the centre and NaN.
    """
    # SExtractor was handed images whose rows were columns; how it parts merged objects depends on that.
    source = find_galaxy(channel.T, catalogue.threshold)
    if source is None:
        measured = {"x": CENTRE, "y": CENTRE}
    else:
        measured = {"x": source.y + 1, "y": source.x + 1, "a": source.a, "b": source.b}
        measured["theta"] = 90 - np.degrees(source.theta)
        measured["petro_radius"] = petrosian_radius(source)
        if "kron_radius" in catalogue.columns:
            measured["kron_radius"] = kron_radius(source)
            measured["flux_radius"] = flux_radius(source, measured["kron_radius"])
            measured["fwhm"] = fwhm(source)
    return np.array([measured.get(name, np.nan) for name in catalogue.columns])


def _measure_image(catalogue: Catalogue, subset: str, id: int) -> np.ndarray:
    path = images.image_path(folders.current.images(subset), id)
    return measure(images.read_image(path)[:, :, 1], catalogue)


class _Rows:
    """The rows that are measured so far, kept beside the catalogue's file; none unless they are of the first ids."""

    def __init__(self, product: Path, ids: np.ndarray, num_columns: int):
        self.path = product.with_name(f".{product.name.removesuffix('.npy.gz')}.partial.npy")
        self.ids = ids
        remove_leftovers(product, self.path)
        self.rows = self._load(num_columns)

    def _load(self, num_columns: int) -> list[np.ndarray]:
        try:
            saved = load_array(self.path, "the script", (None, 1 + num_columns), np.floating)
        except DataError:
            return []
        return list(saved[:, 1:]) if np.array_equal(saved[:, 0], self.ids[: len(saved)]) else []

    def save(self) -> None:
        if self.rows:
            save_array(self.path, np.column_stack([self.ids[: len(self.rows)].astype(np.float64), self.rows]))


def extract(catalogue: Catalogue, subset: str, num_workers: int | None = None) -> None:
    """Measure all galaxies of a subset and write the catalogue's file: whole, or not at all.

    What was measured is kept every few hundred images and when the extraction is interrupted; the next one goes on
    from there. A file that is complete already is left alone.
    """
    path, ids = catalogue.path(subset), images.load_ids(subset)
    if path.exists():
        catalogue.load(subset)
        print(f"{path} is there already; delete it to measure again")
        return
    done = _Rows(path, ids, len(catalogue.columns))
    with (
        showing(total=len(ids), initial=len(done.rows), desc=subset, unit="image") as bar,
        mapping(num_workers, 4, folders.worker_start()) as each,
    ):
        try:
            for row in each(partial(_measure_image, catalogue, subset), ids[len(done.rows) :].tolist()):
                done.rows.append(row)
                bar.update()
                if len(done.rows) % IMAGES_A_SAVE == 0:
                    done.save()
        except BaseException:
            done.save()
            raise
    save_gz(path, np.array(done.rows).reshape(-1, len(catalogue.columns)))
    done.path.unlink(missing_ok=True)
    print(f"wrote {len(done.rows)} rows of {', '.join(catalogue.columns)} to {path}")


def run(catalogue: Catalogue, description: str) -> None:
    """Run the script that makes a catalogue: read its command line, measure both subsets."""
    parser = script_parser(description)
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="processes (default: cores)")
    parser.add_argument(
        "--from-ram", nargs="?", const="/dev/shm", metavar="DIR", help="read what copy_data_to_shm.py copied there"
    )
    args = parser.parse_args()
    use_folders(args.root, args.data, args.from_ram)
    for subset in SUBSETS:
        extract(catalogue, subset, args.num_workers)
