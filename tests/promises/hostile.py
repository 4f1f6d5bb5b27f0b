"""Read hostile models and tables: `PYTHONPATH=.:tests python tests/promises/hostile.py SEED FOLDER INDEX...`.

Indices below 100 are models, others tables. Each file is drawn and read in processes of their own. A line of JSON says
for each: name, bytes, what the reader said, its largest memory (MiB) and its processor time (s). A fault ends with
"fault: " and the exception.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime  # noqa: F401  imported before the fork, as all that the readers need
import pandas  # noqa: F401
from astropy.io import fits, votable  # noqa: F401
from astropy.table import Table  # noqa: F401
from hostile_models import hostile_model
from hostile_tables import hostile_table

from catalogue import inputs
from catalogue.model_file import Model
from catalogue.table_shards import MergedShards
from machine import tables
from machine.files import DataError

NUM_MODELS = 100


def in_process(function: Callable[[], str], outcome: Path) -> tuple[str, float, float]:
    """Return what a function returns in a forked process, the largest memory (MiB) and the processor time (s)."""
    child = os.fork()
    if child == 0:
        try:
            outcome.write_text(function(), errors="backslashreplace")
        except BaseException as error:
            outcome.write_text(f"fault: {traceback.format_exception_only(error)[-1][:300]}", errors="backslashreplace")
        finally:
            os._exit(0)
    _, status, usage = os.wait4(child, 0)
    text = outcome.read_text() if status == 0 and outcome.exists() else f"fault: it died with status {status}"
    outcome.unlink(missing_ok=True)
    return text, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def draw(index: int, seed: int, folder: Path) -> Path:
    """Write the file with an index and return its path."""
    is_model = index < NUM_MODELS
    name, content = hostile_model(index, seed) if is_model else hostile_table(index, seed)
    path = folder / (f"{index}_{name}.onnx" if is_model else f"{index}_{name}")
    path.write_bytes(content)
    return path


def refusal(read: Callable[[], object]) -> str:
    """Return "read", or the message of the refusal, which is one line."""
    try:
        read()
    except DataError as error:
        if "\n" in str(error):
            raise ValueError(f"a message of several lines: {error}") from None
        return str(error)
    return "read"


def read_model(path: Path) -> str:
    """Load a model and let it predict a black image."""

    def predict() -> None:
        model = Model(path, threads=1)
        num = len(model.card.test_transforms)
        sizes = model.card.target_sizes
        model.views = lambda frame: [np.zeros((num, *size, 3), np.float32) for size in sizes]
        model.predict([None])

    return refusal(predict)


def read_table(path: Path) -> str:
    """Read a table as input of a catalogue, as labels, and as a shard."""
    readings = [lambda: inputs.find([str(path)]), lambda: tables.read_cells(path, tables.column_names(path)[:9])]
    if path.suffix == ".parquet":
        readings.append(lambda: list(MergedShards([path])))
    return " | ".join(refusal(read) for read in readings)


def main() -> None:
    seed, folder, indices = int(sys.argv[1]), Path(sys.argv[2]), map(int, sys.argv[3:])
    for index in indices:
        outcome = folder / "outcome"
        drawn, _, _ = in_process(lambda index=index: str(draw(index, seed, folder)), outcome)
        path = Path(drawn)
        read = read_model if index < NUM_MODELS else read_table
        said, memory, seconds = in_process(lambda path=path, read=read: read(path), outcome)
        size = path.stat().st_size
        path.unlink()
        values = {"name": path.name, "bytes": size, "said": said, "MiB": round(memory), "s": round(seconds, 1)}
        print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
