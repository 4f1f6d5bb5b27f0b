"""Copy the train and test images to the RAM drive /dev/shm, so that training does not wait for a disk.

Files that exist there with the same size are not copied again, so an interrupted copy resumes. With `--decoded`, the
decoded pixels are written instead, 539 kB per image. Training and prediction use them automatically while they match
the images. With `--remove`, the copies are deleted.

Source: documentation of 2014, 3.1 and 3.4.
"""

import dataclasses
import os
import shutil
from pathlib import Path

from machine.command_line import positive_int, run_script, script_parser

from machine.files import DataError, remove_leftovers, replacing
from machine.progress import showing
from survey import decoded_cache, ram_copies
from survey.folders import SUBSETS, Folders, adopt, use_folders
from survey.images import is_image

# A RAM drive allocates whole pages of memory.
PAGE_BYTES = 4096


def list_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size in bytes and time in ns of each JPEG of a folder, by name; empty if the folder does not exist."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: _stamp(entry) for entry in entries if is_image(entry.name)}


def _stamp(entry: os.DirEntry) -> tuple[int, int]:
    status = entry.stat()
    return status.st_size, status.st_mtime_ns


def copy_images(folders: Folders) -> None:
    """Copy missing images to `folders.ram`; raises DataError if there are no images, or not enough memory."""
    decoded_cache.need_room(folders.ram, 0)
    missing: dict[str, list[str]] = {}
    num_bytes = 0
    for subset in SUBSETS:
        images = list_images(folders.raw_images(subset))
        if not images:
            raise DataError(
                f"expected the {subset} images in {folders.raw_images(subset)}, got no .jpg file; "
                "download them from Kaggle or run simulate_galaxies.py"
            )
        copies = list_images(folders.ram_images(subset))
        ram_copies.check_owner(folders.ram_images(subset), folders.raw_images(subset), copies.keys() & images.keys())
        remove_leftovers(folders.ram_images(subset) / "*")
        missing[subset] = sorted(name for name in images if copies.get(name) != images[name])
        num_bytes += sum(-(-images[name][0] // PAGE_BYTES) * PAGE_BYTES for name in missing[subset])
        print(f"{len(images)} {subset} images, {len(images) - len(missing[subset])} of them already copied")
    decoded_cache.need_room(folders.ram, num_bytes)
    for subset, names in missing.items():
        source, target = folders.raw_images(subset), folders.ram_images(subset)
        ram_copies.claim(target, source)
        for name in showing(names, desc=subset, unit="image"):
            with replacing(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
                shutil.copystat(source / name, temporary)
        print(f"wrote {len(names)} images to {target}")


def remove_images(folders: Folders) -> None:
    """Delete the copies of images; a copy without an original is kept, because it may be the only one."""
    for subset in SUBSETS:
        source, target = folders.raw_images(subset), folders.ram_images(subset)
        originals, copies = list_images(source), list_images(target)
        is_own = ram_copies.owner_of(target) in (None, ram_copies.survey_of(source))
        removable = [name for name in copies if name in originals] if is_own else []
        remove_leftovers(target / "*")
        for name in removable:
            (target / name).unlink()
        print(f"removed {len(removable)} images from {target}")
        if decoded_cache.remove(subset):
            print(f"removed the decoded {subset} images from {folders.ram}")
        if strangers := len(copies) - len(removable):
            print(f"kept {strangers} images in {target} that are not in {source}; delete them if you do not need them")
        if is_own:
            ram_copies.disown(target)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()


def decode_images(num_workers: int | None) -> None:
    """Build the memory map of decoded images of each subset, or resume building it."""
    for subset in SUBSETS:
        print(f"wrote the decoded {subset} images to {decoded_cache.build(subset, num_workers)}")


def main() -> None:
    parser = script_parser(
        __doc__, examples=("python copy_data_to_shm.py --decoded", "python copy_data_to_shm.py --remove")
    )
    parser.group("copies").add_argument(
        "--ram",
        type=Path,
        default=Folders.ram,
        metavar="DIR",
        help="folder for the copies, on a RAM drive (default: %(default)s)",
    )
    parser.group("copies").add_argument(
        "--decoded",
        action="store_true",
        help="write decoded pixels instead of JPEGs; use this if decoding limits training",
    )
    parser.group("speed").add_argument(
        "--num-workers",
        type=positive_int,
        metavar="N",
        help="number of processes that decode, at least 1; only with --decoded (default: all cores)",
    )
    parser.group("copies").add_argument("--remove", action="store_true", help="delete the copies, to free the memory")
    args = parser.parse_args()
    folders = adopt(dataclasses.replace(use_folders(args.root, args.data), ram=args.ram))
    for subset in SUBSETS:
        if folders.raw_images(subset).resolve() == folders.ram_images(subset).resolve():
            raise DataError(
                f"expected a folder other than that of the originals, got {folders.raw_images(subset)} for both; "
                "choose another folder with --ram"
            )
    if not args.remove:
        decoded_cache.need_room(folders.ram, 0)
    with ram_copies.alone(folders.ram):
        if args.remove:
            remove_images(folders)
        elif args.decoded:
            decode_images(args.num_workers)
        else:
            copy_images(folders)


if __name__ == "__main__":
    run_script(main, "what is copied or decoded so far is kept")
