"""Give the readers of files changed input: `PYTHONPATH=.:tests python tests/promises/fuzz.py TARGET COUNT SEED FOLDER`.

Each input is a valid or a malicious file with a few changes, and is to give a value or a DataError. Otherwise this
process ends: with an exception, by a signal (a crash, or a minute without an answer), or because something was
executed. The input that did it is what lies in the folder then.
"""

import gzip
import io
import pickle
import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from crafted import ANALYSIS, BOMBS, CALLS, CRAFTED, Python2Pickler
from PIL import Image
from tiny import draw_blob, draw_labels

from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_array, load_pickle
from machine.files import DataError
from survey import images

SECONDS_AN_INPUT = 60
MORE_MEMORY = 2**29
# Audit events of what no reader does.
EXECUTION = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.mkdir", "pty.spawn"}
EXECUTION |= {"subprocess.Popen", "ctypes.dlopen", "socket.connect", "shutil.rmtree", "webbrowser.open"}
# pandas imports on its own; for all others that is execution, too.
IMPORTING = {"import", "exec"}


def jpegs(rng: np.random.Generator) -> list[bytes]:
    """Return valid JPEGs of every kind that comes, small ones more often."""
    blob = draw_blob(rng)
    noisy = (blob + rng.normal(0, 4, blob.shape)).clip(0, 255).astype(np.uint8)
    seeds = [simplejpeg.encode_jpeg(image, quality=quality) for image, quality in ((blob, 30), (blob, 90), (noisy, 90))]
    for mode, options in (("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"restart_marker_rows": 1})):
        buffer = io.BytesIO()
        Image.fromarray(blob).convert(mode).save(buffer, "JPEG", quality=50, **options)
        seeds.append(buffer.getvalue())
    return seeds


def tables(rng: np.random.Generator) -> list[bytes]:
    """Return tables of labels of a few rows."""
    seeds = []
    for num_rows in (1, 3, 12):
        header = ",".join(("GalaxyID", *GALAXY_ZOO_2.columns))
        rows = [",".join(map(str, [rng.integers(10**6), *row.round(6)])) for row in draw_labels(num_rows, rng)]
        seeds.append("\n".join([header, *rows, ""]).encode())
    return seeds


def pickles(rng: np.random.Generator) -> list[bytes]:
    """Return pickles: good ones of every protocol and of Python 2, and those that would run something."""
    python2 = io.BytesIO()
    Python2Pickler(python2, protocol=2).dump(ANALYSIS)
    seeds = [python2.getvalue(), *(pickle.dumps(ANALYSIS, protocol) for protocol in range(6))]
    calls = [pickle.dumps(call("/nonexistent/mark"), protocol) for call in CALLS.values() for protocol in (0, 2, 4)]
    return [*seeds * 8, *calls, *CRAFTED.values(), *BOMBS.values()]


def arrays(rng: np.random.Generator) -> list[bytes]:
    """Return `.npy` files, of numbers and of what is refused."""
    seeds = []
    for array in (
        rng.random((5, 37), np.float32),
        np.asfortranarray(rng.random((3, 7))),
        np.arange(9),
        np.zeros((0, 4)),
        np.array(True),
        np.array(["text"]),
        np.zeros(2, [("a", "f4"), ("b", "i8")]),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        seeds.append(buffer.getvalue())
    return seeds


# Pieces that mean something in a file of a kind.
WORDS = {
    "jpeg": rb"FFD8 FFD9 FFDA FFC0 FFC2 FFC4 FFDB FFDD FFEE FFD0 FFFF EA60 0000".split(),
    "csv": b", |\n|\r\n|\"|nan|-1|1e999|GalaxyID|Class1.1|\0|\xff|,,|'|\xef\xbb\xbf|#| |True|0x10|inf|1_0|\t".split(
        b"|"
    ),
    "pickle": [bytes([opcode]) for opcode in pickle._Unpickler.dispatch] * 2
    + b"cos\nsystem\n,cnumpy\nndarray\n,cnumpy\ndtype\n,(Vecho\ntR,\x86R,tb,O8,|".split(b","),
    "npy": b"(1, ;99999999;-1;'|O';'<f8';True;{;(;[;';#;\n;0x;\x93NUMPY\2\0;\x93NUMPY\3\0;PK\3\4;'<U9999999';L".split(
        b";"
    ),
}
WORDS["jpeg"] = [bytes.fromhex(word.decode()) for word in WORDS["jpeg"]]


def mutate(rng: random.Random, data: bytes, others: list[bytes], words: list[bytes]) -> bytes:
    """Change a file in one to eight places."""
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        # What a file promises stands in its first bytes.
        at = rng.randrange(rng.choice((len(mutant), min(len(mutant), 700))) + 1)
        length = rng.choice((1, 1, 2, 4, 16, 200))
        match rng.randrange(9):
            case 0 if at < len(mutant):
                mutant[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(mutant):
                mutant[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del mutant[at : at + length]
            case 3:
                mutant[at:at] = rng.randbytes(length)
            case 4:
                mutant[at : at + length] = bytes(length)
            case 5:
                word = rng.choice(words)
                mutant[at : at + len(word) * rng.randrange(2)] = word
            case 6:
                mutant[at:at] = mutant[at : at + length] * rng.choice((1, 2, 50))
            case 7:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                mutant[at:] = other[start:]
            case 8:
                del mutant[at:]
    return bytes(mutant)


def is_plain(value: object) -> bool:
    """Return whether a value is of NumPy arrays of numbers and plain values, as deep as it is worth looking."""
    todo = [(value, 0)]
    for item, depth in todo:
        if isinstance(item, (np.ndarray, np.generic)):
            if item.dtype.kind not in "biuf":
                return False
        elif isinstance(item, (dict, list, tuple)) and depth < 4:
            parts = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            todo += [(part, depth + 1) for part in list(parts)[:50]]
    return True


def check_image(path: Path) -> bool:
    image = images.read_image(path)
    return image.shape == (424, 424, 3) and image.dtype == np.uint8


def check_table(path: Path) -> bool:
    ids, labels = images.read_labels_csv(path)
    return labels.shape == (len(ids), 37) and bool(np.isfinite(labels).all()) and len(set(ids.tolist())) == len(ids)


def check_pickle(path: Path) -> bool:
    return is_plain(load_pickle(path, "x.py"))


def check_array(path: Path) -> bool:
    return is_plain(load_array(path, "x.py"))


# The file's name, its seeds, its words, what is done to the changed bytes, and what reads them.
TARGETS: dict[str, tuple[str, Callable, str, Callable[[bytes], bytes], Callable[[Path], bool]]] = {
    "jpeg": ("1.jpg", jpegs, "jpeg", bytes, check_image),
    "csv": ("table.csv", tables, "csv", bytes, check_table),
    "pickle": ("x.pkl", pickles, "pickle", bytes, check_pickle),
    "npy": ("x.npy", arrays, "npy", bytes, check_array),
    "array in gz": ("x.npy.gz", arrays, "npy", lambda data: gzip.compress(data, 1), check_array),
    "gz": ("x.npy.gz", lambda rng: [gzip.compress(data) for data in arrays(rng)], "npy", bytes, check_array),
}


def forbid_execution(path: Path, events: set[str]) -> None:
    """Have this process end when something is executed, or a file opened but for reading the input."""

    def look(event: str, arguments: tuple) -> None:
        opened = event == "open" and arguments[0] != str(path) and "r" not in str(arguments[1])
        if opened or event in events:
            events.clear()
            print(f"executed: {event} {arguments!r}"[:300], flush=True)
            signal.raise_signal(signal.SIGABRT)

    sys.addaudithook(look)


def run(target: str, count: int, seed: int, folder: Path) -> Counter:
    """Read `count` changed files, and count what came of it."""
    name, make_seeds, words, wrap, check = TARGETS[target]
    seeds = make_seeds(np.random.default_rng(seed))
    path = folder / name
    outcomes: Counter = Counter()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_AN_INPUT)
        try:
            assert check(path), "a value of another kind"
            outcomes["value"] += 1
        except DataError as error:
            assert "\n" not in str(error), "more than one line"
            outcomes["refused"] += 1
        signal.setitimer(signal.ITIMER_REAL, 0)

    for data in seeds:  # also loads what is loaded on first use
        read(wrap(data))
    outcomes.clear()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
    forbid_execution(path, EXECUTION if target == "csv" else EXECUTION | IMPORTING)
    for index in range(count):
        rng = random.Random(f"{target} {seed} {index}")
        read(wrap(mutate(rng, rng.choice(seeds), seeds, WORDS[words])))
    return outcomes


if __name__ == "__main__":
    outcomes = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    print(f"{outcomes['value']} value, {outcomes['refused']} refused")
