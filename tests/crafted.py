"""Files that only tests write: pickles of Python 2, pickles that would run something, files that promise too much."""

import builtins
import copy
import functools
import io
import os
import pickle
import stat
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy


class Python2Pickler(pickle._Pickler):
    """Write protocol 2 as Python 2 and NumPy 1.6 did: `str` is bytes, and NumPy's functions live in numpy.core."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        data = text.encode("latin1") if isinstance(text, str) else text
        short = len(data) < 256
        self.write(b"U" + bytes([len(data)]) + data if short else b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    def save_global(self, obj: object, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[type] = dispatch[type(len)] = dispatch[type(save_string)] = save_global


def write_python2_pickle(path: Path, value: object) -> None:
    """Write a pickle as a script of 2014 did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(value)


ANALYSIS = {
    "ids": np.arange(100008, 100011),
    "mean_train_loss": np.float32(0.09),
    "losses_valid": [np.float64(0.1), 0.09],
    "time_since_start": 241200.5,
    "param_values": [np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30), np.zeros(30, np.float32)],
}


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def touch(path: str) -> None:
    Path(path).touch()


# What a pickle would call, and the name by which it is refused.
CALLS = {
    "system": lambda mark: Calls(os.system, f"touch {mark}"),
    "eval": lambda mark: Calls(builtins.eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Calls(builtins.exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Calls(open, mark, "w"),
    "__import__": lambda mark: Calls(builtins.__import__, "os"),
    "getattr": lambda mark: Calls(getattr, np.ndarray, "tofile"),
    "Popen": lambda mark: Calls(subprocess.Popen, ["touch", mark]),
    "partial": lambda mark: Calls(functools.partial, os.system, f"touch {mark}"),
    "Path": lambda mark: Path(mark),
    "touch": lambda mark: Calls(touch, mark),
    "load": lambda mark: Calls(np.load, mark),
    "fromfile": lambda mark: Calls(np.fromfile, mark),
    "save": lambda mark: Calls(np.save, mark, np.zeros(1)),
    "memmap": lambda mark: Calls(np.memmap, mark, "u1", "w+", 0, (1,)),
    "encoding 'rot13'": lambda mark: Calls(__import__("_codecs").encode, "x", "rot13"),
    "array of 'O8'": lambda mark: np.array([Calls(os.system, f"touch {mark}")], dtype=object),
    "array of 'V8'": lambda mark: np.zeros(1, [("a", "f8")]),
}


# Streams that no pickler writes. NumPy's own functions that run text, objects made without a call, and a type of
# objects that denies to hold any, so that NumPy takes bytes of ours for pointers.
POINTERS = (
    b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    b"(K\x01K\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00V8\x89\x88\x87R"
    b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00a\x85}X\x01\x00\x00\x00a"
    b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87RK\x00\x86sK\x08K\x01K\x00tb"
    b"\x89C\x08AAAAAAAAtb."
)
CRAFTED = {
    "runstring": b"cnumpy.testing._private.utils\nrunstring\n(Vopen('{mark}', 'w')\n}tR.",
    "myeval": b"cnumpy.f2py.crackfortran\nmyeval\n(Vopen('{mark}', 'w')\ntR.",
    "exec_command": b"cnumpy.distutils.exec_command\nexec_command\n(Vtouch {mark}\ntR.",
    "posix.system": b"(S'touch {mark}'\niposix\nsystem\n.",
    "os.system": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch {mark}\x85R.",
    "numpy.ndarray.tofile": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    "array of 'V8'": POINTERS,
    "not callable": b"cnumpy\nndarray\n(K\x02tR.",
    "holds an object": b"\x80\x02cnumpy\ndtype\n)\x81.",
    "holds an object ": b"Vos.system\nQ.",
    "holds an object  ": b"\x82\x01.",
    "holds an object   ": b"\x80\x05\x97.",
    "sets the state of a dict": b"}(K\x01K\x02tb.",
}


def doubled_key(levels: int) -> bytes:
    """Return a pickle whose dictionary has a tuple of a tuple of a tuple... twice each for a key."""
    return b"}(" + b")" + b"2\x86" * levels + b"K\x01u."


# A few bytes that promise, repeat or hash without end.
BOMBS = {
    "a place in the memo": b"K\x01r\xff\xff\xff\x7f0N.",
    "a bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "bytes": b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "text": b"\x80\x05\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "an array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    b"(K\x01\x8a\x06\0\0\0\0\0\x01\x85cnumpy\ndtype\nX\x02\0\0\0u1\x89\x88\x87R\x89C\x01xtb.",
    "copies": b"\x80\x04\x8c\x07_codecs\x8c\x06encode\x93q\x000X\x50\xc3\0\0"
    + b"x" * 50000
    + b"q\x010(" * 1
    + b"h\x00h\x01\x8c\x06latin1\x86R" * 1000
    + b"l.",
    "a key": doubled_key(64),
    "a number": b"I" + b"9" * 100000 + b"\n.",
}


# Arrays of any numbers, in either byte order.
number_arrays = hypothesis_numpy.arrays(
    st.one_of(
        hypothesis_numpy.boolean_dtypes(),
        hypothesis_numpy.integer_dtypes(endianness="?"),
        hypothesis_numpy.unsigned_integer_dtypes(endianness="?"),
        hypothesis_numpy.floating_dtypes(endianness="?"),
    ),
    hypothesis_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


def npy_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """Return a `.npy` header that promises an array."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


HUGE = {
    "one long axis": npy_header((2**40,)),
    "two axes": npy_header((100_000, 100_000)),
    "axes beside none": npy_header((0, 2**62)),
    "more bytes than a pointer counts": npy_header((2**47, 2**47, 2**47)),
    "a length below nought": npy_header((-1, 37)),
    "a length that is none": npy_header((9, True)),
    "within the limit, but not in so small a file": npy_header((2**25,)),
    "one long text": npy_header((1,), "<U999999999"),
    "a long header": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 10**6,
    "zeros without end": npy_header((37,)) + bytes(10**8),
}


def zip_of(
    files: Mapping[str, bytes] | Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, **changes
) -> bytes:
    """Return a zip of some files; `changes` are attributes of the first one's entry, as external_attr."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in dict(files).items() if isinstance(files, Mapping) else files:
            info = zipfile.ZipInfo(name.rstrip("\0"))
            info.filename, info.compress_type = name, method
            for attribute, value in changes.items():
                setattr(info, attribute, value)
            changes = {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that stands in it twice, which is what some tests are about
                archive.writestr(info, content, info.compress_type)
    return buffer.getvalue()


def overlapping_zip() -> bytes:
    """Return a zip of several names for the same bytes, as a bomb has that needs no second layer."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_training_rev1/1.jpg", bytes(10**6))
        for number in range(2, 9):
            info = copy.copy(archive.infolist()[0])
            info.filename = info.orig_filename = f"images_training_rev1/{number}.jpg"
            archive.filelist.append(info)
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    """Return a zip whose file is said to be encrypted, in both places that say so."""
    content = bytearray(zip_of({"images_training_rev1/1.jpg": b"?" * 99}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    return bytes(content)


def resized_zip(size: int) -> bytes:
    """Return a zip whose table of contents gives a stored file of 12,345 bytes another size."""
    content = zip_of({"images_training_rev1/1.jpg": bytes(12345)})
    place = content.rindex((12345).to_bytes(4, "little"))
    return content[:place] + size.to_bytes(4, "little") + content[place + 4 :]


def _within(name: str) -> bytes:
    return zip_of({"images_training_rev1/1.jpg": b"an image", name: b"a stranger"})


_IMAGE = {"images_training_rev1/1.jpg": b"an image"}
# Zips that nobody should unpack, and why.
HOSTILE_ZIPS = {
    **{
        f"name {name!r}": (_within(name), reason)
        for name, reason in {
            "../1.jpg": "leads out of the folder",
            "images_training_rev1/../../../1.jpg": "leads out of the folder",
            "images_training_rev1/..": "leads out of the folder",
            "..\\1.jpg": "leads out of the folder",
            "/tmp/1.jpg": "is an absolute path",
            "//host/share/1.jpg": "is an absolute path",
            "\\1.jpg": "is an absolute path",
            "C:/1.jpg": "is an absolute path",
            "c:1.jpg": "is an absolute path",
            "__MACOSX/../../1.jpg": "leads out of the folder",
            "1.jpg\0.txt": "is not a file name",
        }.items()
    },
    **{
        kind: (zip_of(_IMAGE, external_attr=(mode | 0o777) << 16, create_system=3), reason)
        for kind, mode, reason in (
            ("link", stat.S_IFLNK, "is a link"),
            ("device", stat.S_IFCHR, "is a device, a pipe or a socket"),
            ("pipe", stat.S_IFIFO, "is a device, a pipe or a socket"),
        )
    },
    "a name twice": (zip_of([*_IMAGE.items()] * 2), "occurs twice"),
    "a name twice, but for its case": (zip_of([("a/1.jpg", b""), ("A/1.JPG", b"")]), "occurs twice"),
    "encrypted": (encrypted_zip(), "is encrypted"),
    "bomb": (zip_of({"images_training_rev1/1.jpg": bytes(2 * 10**6)}, zipfile.ZIP_DEFLATED), "as a bomb does"),
    "bomb that is not needed": (zip_of({"readme.txt": bytes(2 * 10**6)}, zipfile.ZIP_DEFLATED), "as a bomb does"),
    "shared bytes": (overlapping_zip(), "shares its bytes"),
    "longer than it is": (resized_zip(2**31), "is stored as 12345 bytes, but its header says 2147483648"),
    "shorter than it is": (resized_zip(5), "is stored as 12345 bytes, but its header says 5"),
    "unusual compression": (zip_of(_IMAGE, zipfile.ZIP_BZIP2), "with an unusual method"),
    "no zip": (b"<html>log in to download</html>", "cannot be read as a zip"),
    "nothing": (b"", "cannot be read as a zip"),
    "cut off": (zip_of(_IMAGE)[:-40], "cannot be read as a zip"),
    "its end only": (zip_of(_IMAGE)[-60:], "cannot be read as a zip|is refused"),
}
