"""SExtractor's measurements of one galaxy, and a resumable, parallel job that measures all galaxies of a data set.

Source: documentation of 2014, 2.1.5 and 3.4.
"""

from functools import partial
from pathlib import Path

from machine.command_line import positive_int, script_parser

import numpy as np

from galaxy.image_geometry import CENTRE
from galaxy.photometry import find_galaxy, flux_radius, fwhm, kron_radius, petrosian_radius
from machine import locks, products, seals
from machine.arrays import load_rows, read_seal, save_gz, save_rows
from machine.files import remove_leftovers, shown
from machine.processes import mapping
from machine.products import Product
from machine.progress import showing
from survey import folders, images
from survey.centering import PysexParams
from survey.folders import SUBSETS, use_folders

IMAGES_A_SAVE = 400
# What an interrupted extraction keeps.
KEPT = "the rows measured so far are kept"


def measure(channel: np.ndarray, catalogue: PysexParams) -> np.ndarray:
    """Measure `catalogue.columns` of the galaxy in an image's green channel (rows, columns); return (columns,) float64.

    x, y, a, b, flux_radius and fwhm are in pixels, and x, y count from 1 as in SExtractor. kron_radius and petro_radius
    are in units of a. theta is in degrees, 0 to 180. If no object is detected, x, y are the centre, the rest is NaN.
    """
    # 2014 gave SExtractor transposed images, and its deblending depends on the order of the pixels.
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


def _measure_image(catalogue: PysexParams, subset: str, id: int) -> np.ndarray:
    path = images.image_path(folders.current.images(subset), id)
    return measure(images.read_image(path)[:, :, 1], catalogue)


class _Rows:
    """The rows measured so far, with their ids, beside the catalogue's file; those of another `source` are left out."""

    def __init__(self, product: Path, ids: np.ndarray, source: str):
        self.path = product.with_name(f".{product.name.removesuffix('.npy.gz')}.partial.npy")
        self.ids, self.source = ids, source
        remove_leftovers(product, self.path)
        saved = load_rows(self.path, source)
        self.rows = [] if saved is None else list(saved[:, 1:])

    def save(self) -> None:
        if self.rows:
            rows = np.column_stack([self.ids[: len(self.rows)].astype(np.float64), self.rows])
            save_rows(self.path, rows, self.source)


def extract(catalogue: PysexParams, subset: str, num_workers: int | None = None, overwrite: bool = False) -> None:
    """Measure all galaxies of a subset and write the catalogue's file, complete or not at all.

    Rows are stored every 400 images and on an interrupt; the next call resumes from them. An existing file is kept
    unless `overwrite` is set.
    """
    path, ids = catalogue.path(subset), images.load_ids(subset)
    # The listing holds the ids in their order.
    source = seals.source_of(catalogue.name, images.listing(folders.current.images(subset), ids.tolist()))
    done = _Rows(path, ids, source)
    if path.exists() and not overwrite:
        catalogue.load(subset)
        seal = seals.read(path)
        others = ", from other images" if seal and seal.source not in (seals.NO_SOURCE, source) else ""
        print(f"{shown(path)} already exists{others}; delete it to measure again")
        done.path.unlink(missing_ok=True)
        return
    products.check([Product(path), Product(done.path, read_seal=read_seal)], overwrite=overwrite)
    with (
        showing(total=len(ids), initial=len(done.rows), desc=subset, unit="image") as bar,
        mapping(num_workers, 4, folders.worker_start()) as measure_all,
    ):
        try:
            for row in measure_all(partial(_measure_image, catalogue, subset), ids[len(done.rows) :].tolist()):
                done.rows.append(row)
                bar.update()
                if len(done.rows) % IMAGES_A_SAVE == 0:
                    done.save()
        except BaseException:
            done.save()
            raise
    save_gz(path, np.array(done.rows).reshape(-1, len(catalogue.columns)), source)
    done.path.unlink(missing_ok=True)
    print(f"wrote {len(done.rows)} rows of {', '.join(catalogue.columns)} to {shown(path)}")


def run(catalogue: PysexParams, description: str) -> None:
    """Run the script of a catalogue: read the command line, measure both subsets."""
    parser = script_parser(description)
    parser.group("speed").add_argument(
        "--num-workers", type=positive_int, metavar="N", help="processes that measure (default: cores)"
    )
    parser.group("folders").add_argument(
        "--from-ram",
        nargs="?",
        const="/dev/shm",
        metavar="DIR",
        help="read the copies of the images that copy_data_to_shm.py made (default of DIR: /dev/shm)",
    )
    args = parser.parse_args()
    use_folders(args.root, args.data, args.from_ram)
    with locks.alone(folders.current.data_lock(catalogue.name), f"the extraction of {catalogue.name}"):
        for subset in SUBSETS:
            extract(catalogue, subset, args.num_workers, args.overwrite)
