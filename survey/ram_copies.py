"""Copies of a survey's images in memory: which survey they belong to, and whether they are current.

A manifest in the folder of the copies names the survey. Copies have the times of their originals.
"""

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path

from machine import locks
from machine.files import DataError, read_text, replacing, shown

_MANIFEST = ".survey.json"


def survey_of(originals: Path) -> str:
    """Return the name of a survey in manifests: the absolute path of its images."""
    return os.fsencode(originals.resolve()).decode("utf-8", "backslashreplace")


def alone(ram: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of the copies in a folder: surveys share the same RAM drive."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return locks.alone(ram / f".copy_data_to_shm.{user}.lock", f"a copy of images to {shown(ram)}")


def owner_of(copies: Path) -> str | None:
    """Return the survey that copies belong to; None without a manifest."""
    try:
        survey = json.loads(read_text(copies / _MANIFEST, "copy again"))["survey"]
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return survey if isinstance(survey, str) else None


def check_owner(copies: Path, originals: Path, names: Collection[str]) -> None:
    """Raise DataError where copies belong to another survey, or to nobody.

    `names` are the copies that have an original.
    """
    owner, survey = owner_of(copies), survey_of(originals)
    if owner is None and names:
        raise DataError(
            f"{shown(copies)} holds {len(names)} images that copy_data_to_shm.py did not copy; move them away, or name "
            "another folder with --ram"
        )
    if owner not in (None, survey):
        raise DataError(
            f"{shown(copies)} holds the images of {shown(owner)}; run copy_data_to_shm.py --remove there, or name "
            "another folder with --ram"
        )


def claim(copies: Path, originals: Path) -> None:
    """Write the manifest of copies."""
    survey = survey_of(originals)
    if owner_of(copies) is None:
        if os.path.lexists(copies / _MANIFEST):
            raise DataError(f"{shown(copies / _MANIFEST)} is damaged, or not of this project; move it away")
        with replacing(copies / _MANIFEST) as temporary:
            temporary.write_text(json.dumps({"survey": survey}))


def disown(copies: Path) -> None:
    """Remove the manifest of copies that are gone."""
    (copies / _MANIFEST).unlink(missing_ok=True)


def check_current(copies: Path, originals: Path, expected: str, got: str) -> None:
    """Raise DataError where copies belong to another survey, or differ from the originals in sizes or times.

    `expected` and `got` are the listings of the originals and of the copies. Copies without a manifest, and those whose
    originals are gone, are taken as they are.
    """
    owner = owner_of(copies)
    if owner is None or not originals.is_dir():
        return
    if owner != survey_of(originals):
        raise DataError(f"{shown(copies)} holds the images of {shown(owner)}, not of {shown(originals)}; copy yours")
    if expected != got:
        raise DataError(f"{shown(copies)} differs from {shown(originals)}; run copy_data_to_shm.py again")
