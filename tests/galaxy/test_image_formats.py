"""Formats are known by the first bytes of a file."""

import os
from pathlib import Path

import pytest

from galaxy.image_formats import SUFFIXES, Unreadable, format_of, identify, read_content

STARTS = {
    b"\xff\xd8\xff\xe0": ("JPEG", "a JPEG image"),
    b"\x89PNG\r\n\x1a\n\0\0": ("PNG", "a PNG image"),
    b"II*\0\x08\0\0\0": ("TIFF", "a TIFF image"),
    b"MM\0+\0\x08": ("TIFF", "a TIFF image"),
    b"SIMPLE  =": ("FITS", "a FITS image"),
    b"\x1f\x8b\x08": ("FITS", "a gzip file"),
    b"BZh9": ("FITS", "a bzip2 file"),
    b"\x1f\x9d\x90": ("FITS", "a file packed by compress"),
    b"RIFF\x10\0\0\0WEBPVP8 ": ("WebP", "a WebP image"),
    b"\0\0\0\x1cftypavif": ("AVIF", "an AVIF image"),
    b"\0\0\0\x1cftypheic": (None, "a HEIF image or a film"),
    b"\xff\x0a\xfa": (None, "a JPEG XL image"),
    b"\0\0\0\x0cJXL \r\n": (None, "a JPEG XL image"),
    b"\0\0\0\x0cjP  \r\n": (None, "a JPEG 2000 image"),
    b"\xff\x4f\xff\x51": (None, "a JPEG 2000 image"),
    b"\x93NUMPY\x01": (None, "a NumPy array (.npy): save it as FITS"),
    b"\x89HDF\r\n\x1a\n": (None, "an HDF5 file: save its images as FITS"),
    b"GIF89a": (None, "a GIF image"),
    b"<!doctype html>": (None, "a web page"),
    b"\0" * 16: (None, "zeros"),
    b"id,ra,dec\n": (None, "text"),
    b"\x07\x81": (None, "something else"),
    b"": (None, "nothing"),
}


@pytest.mark.parametrize("start", STARTS)
def test_the_first_bytes_tell_the_format(start: bytes):
    assert identify(start) == STARTS[start]


def test_every_format_that_is_identified_has_suffixes():
    assert {name for name, _ in STARTS.values() if name} == set(SUFFIXES)


def test_the_suffix_of_a_name_does_not_matter(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert format_of(tmp_path / "a.jpg") == ("PNG", 8)


def test_content_is_read_up_to_a_limit(tmp_path: Path):
    (tmp_path / "a").write_bytes(bytes(9))
    assert read_content(tmp_path / "a", 9) == bytes(9)
    with pytest.raises(Unreadable, match=r"^is too large: expected at most 8 bytes, got 9$"):
        read_content(tmp_path / "a", 8)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {"none": "is missing", ".": "is not a file", "pipe": "is not a file"}.items():
        for function in (format_of, lambda path: read_content(path, 9)):
            with pytest.raises(Unreadable, match=f"^{reason}$"):
                function(tmp_path / name)
