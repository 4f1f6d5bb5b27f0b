"""Copy the train and test images to the RAM drive /dev/shm, whence training can read them without waiting for a disk.

What already is there with the same size is left alone, so that an interrupted copy can be resumed. `--decoded` puts
the images' pixels there instead, 539 kB each, which training and prediction use of themselves as long as they match the
images. `--remove` frees the memory again.

Source: documentation of 2014, 3.1 and 3.4.
"""

import dataclasses
import os
import shutil
from pathlib import Path

from machine.command_line import positive_int, run_script, script_parser
from machine.files import DataError, replacing
from machine.progress import showing
from survey import decoded_cache
from survey.folders import SUBSETS, Folders, adopt, use_folders
from survey.images import is_image

# A RAM drive hands out whole pages of memory.
PAGE_BYTES = 4096


def list_images(folder: Path) -> dict[str, int]:
    """Return the bytes of each JPEG of a folder by its name; nothing where there is no such folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if is_image(entry.name)}


def copy_images(folders: Folders) -> None:
    """Copy what is not yet in `folders.ram`; raises DataError when there is nothing to copy or no room for it."""
    decoded_cache.need_room(folders.ram, 0)
    missing: dict[str, list[str]] = {}
    num_bytes = 0
    for subset in SUBSETS:
        images = list_images(folders.raw_images(subset))
        if not images:
            raise DataError(
                f"expected the {subset} images in {folders.raw_images(subset)}, but there is no .jpg file; "
                "download them from Kaggle or run simulate_galaxies.py"
            )
        there = list_images(folders.ram_images(subset))
        missing[subset] = sorted(name for name in images if there.get(name) != images[name])
        num_bytes += sum(-(-images[name] // PAGE_BYTES) * PAGE_BYTES for name in missing[subset])
        print(f"{len(images)} {subset} images, {len(images) - len(missing[subset])} of them already copied")
    decoded_cache.need_room(folders.ram, num_bytes)
    for subset, names in missing.items():
        source, target = folders.raw_images(subset), folders.ram_images(subset)
        for name in showing(names, desc=subset, unit="image"):
            with replacing(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
        print(f"wrote {len(names)} images to {target}")


def remove_images(folders: Folders) -> None:
    """Remove the copies of images; a file whose original is gone stays, since it may be the only one."""
    for subset in SUBSETS:
        source, target = folders.raw_images(subset), folders.ram_images(subset)
        originals, copies = list_images(source), list_images(target)
        removable = [name for name in copies if name in originals]
        for name in removable:
            (target / name).unlink()
        print(f"removed {len(removable)} images from {target}")
        if decoded_cache.remove(subset):
            print(f"removed the decoded {subset} images from {folders.ram}")
        if strangers := len(copies) - len(removable):
            print(f"left {strangers} images in {target} that are not in {source}; delete them yourself if unneeded")
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()


def decode_images(num_workers: int | None) -> None:
    """Build the map of decoded images of each subset, or go on building it."""
    for subset in SUBSETS:
        print(f"wrote the decoded {subset} images to {decoded_cache.build(subset, num_workers)}")


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--ram", type=Path, default=Folders.ram, metavar="DIR", help="where to copy to (default: %(default)s)"
    )
    parser.add_argument("--decoded", action="store_true", help="put pixels there instead of JPEGs")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="to decode (default: cores)")
    parser.add_argument("--remove", action="store_true", help="remove the copies instead")
    args = parser.parse_args()
    folders = adopt(dataclasses.replace(use_folders(args.root, args.data), ram=args.ram))
    for subset in SUBSETS:
        if folders.raw_images(subset).resolve() == folders.ram_images(subset).resolve():
            raise DataError(
                f"expected another folder than that of the originals, got {folders.raw_images(subset)} for both; "
                "name another place with --ram"
            )
    if args.remove:
        remove_images(folders)
    elif args.decoded:
        decode_images(args.num_workers)
    else:
        copy_images(folders)


if __name__ == "__main__":
    run_script(main)
