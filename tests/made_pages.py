"""Pages for tests: catalogues with crafted rows, training roots with crafted predictions; no network."""

import json
from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa
from tiny import draw_blob, draw_labels

from catalogue import answer_columns
from catalogue.calibration import NO_FEATURES
from catalogue.columns import FEATURE_COLUMN, Choices, schema_of
from catalogue.flags import BORDER, FAR, OK, UNREADABLE
from catalogue.likely_path import in_words
from galaxy import thumbnails
from galaxy.decision_tree import GALAXY_ZOO_2
from machine import tables
from machine.arrays import save_gz
from report.galaxies import Field
from survey import images
from survey.folders import Folders

# What a page is to show as it is: markup, quotes, what ends a script, formulas, other ways to write, halves of pairs.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onmouseover='alert(1)",
    "</script><b>&amp;<!--",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{2}$ \\n a\nb\tc\x00",
    "مجرة \u202egalaxy 銀河 🌌 \ud800",
    "javascript:alert(1)//https://example.org/a.png",
)


def catalogue(
    num_rows: int, *, choices: Choices | None = None, names: Sequence[str] = HOSTILE, seed: int = 1
) -> tuple[pa.Schema, list[pa.Table], np.ndarray]:
    """Return the schema of a catalogue, its rows in two tables, and their weighted votes (n, 37).

    Every seventh row could not be read, every fifth galaxy is far, every third lies at a border. The first rows bear
    hostile names; one column of one's own bears a hostile name and hostile texts.
    """
    rng, choices = np.random.default_rng(seed), choices or Choices()
    own = [
        tables.field("what_is_it", pa.string(), "passed through"),
        tables.field("ra", pa.float64(), "passed through"),
    ]
    schema = schema_of([], choices, own)
    votes = draw_labels(num_rows, rng)
    fractions = votes if choices.weighted else answer_columns.conditional(votes, GALAXY_ZOO_2)
    number = np.arange(num_rows)
    unread = number % 7 == 6
    texts = [tables.printable(names[n] if n < len(names) else f"galaxy {n}") for n in range(num_rows)]
    paths = [None if bad else in_words(each, GALAXY_ZOO_2) for bad, each in zip(unread, votes, strict=True)]
    columns: dict[str, object] = {
        "id_str": texts,
        "file_loc": [f"folder/{text}.png" for text in texts],
        "what_is_it": [texts[n % len(texts)] for n in number],
        "ra": rng.uniform(0, 360, num_rows),
        "status": np.where(unread, UNREADABLE, OK),
        "reason": np.where(unread, "is empty <b>", None),
        "most_likely_path": paths,
        "flag": np.where(unread, 0, FAR * (number % 5 == 0) + BORDER * (number % 3 == 0)),
        "framing": np.where(unread, "", "auto"),
    }
    for name in schema.names:
        if name not in columns:
            columns[name] = np.where(unread, np.nan, rng.uniform(0, 1, num_rows))
    for place, name in enumerate(answer_columns.fractions_of(GALAXY_ZOO_2)):
        columns[name] = np.where(unread, np.nan, fractions[:, place])
    table = pa.table([pa.array(columns[each.name], each.type, from_pandas=True) for each in schema], schema=schema)
    return schema, [table[: num_rows // 3], table[num_rows // 3 :]], votes


def pictures(rows: Sequence[int]) -> list[bytes | None]:
    """Return a small picture for each row but the third."""
    coded = thumbnails.encode(draw_blob(np.random.default_rng(2))[108:-108, 108:-108], thumbnails.share(len(rows)))
    return [None if place == 2 else coded for place in range(len(rows))]


def field(num_rows: int, seed: int = 3) -> Field:
    """Return a dark field of 900 x 600 pixels, shown at half its size, with a mark for each row."""
    rng = np.random.default_rng(seed)
    _, coded = cv2.imencode(".jpg", rng.integers(0, 40, (300, 450, 3), dtype=np.uint8))
    x, y = rng.uniform(20, 880, num_rows), rng.uniform(20, 580, num_rows)
    a, b = np.sort(rng.uniform(3, 30, (2, num_rows)), axis=0)[::-1]
    looks = np.array(["spiral", "round", "star"])[np.arange(num_rows) % 3]
    return Field(coded.tobytes(), 900, 600, x, y, a, b, 10 * y, np.arange(num_rows), looks, HOSTILE[0])


def write_results(folders: Folders, names: Sequence[str] = ("try_a", "try_b")) -> None:
    """Write predictions of the validation galaxies and run records of models into a prepared survey."""
    rng, labels = np.random.default_rng(4), images.load_labels()
    _, valid = images.split(len(labels))
    for number, name in enumerate(names, 1):
        off = rng.uniform(0, 0.2 * number, (len(valid), 37))
        save_gz(folders.augmented("valid", name), GALAXY_ZOO_2.obey(labels[valid] + off).astype(np.float32))
        record = {
            "experiment": {"batch_size": 16, "network": [{"class": "<b>Dense</b>", "shape": [3, 4]}]},
            "seconds": 3725.0,
            "losses_train": [0.3 / n for n in range(1, 9)],
            "losses_valid": {"4": 0.11, "8": 0.1},
        }
        path = folders.analysis(name).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))


def with_features(schema: pa.Schema, parts: Sequence[pa.Table], size: int = 16) -> tuple[pa.Schema, list[pa.Table]]:
    """Return a catalogue with a column of features: every tenth galaxy is of a group of its own."""
    schema = schema.append(tables.field(FEATURE_COLUMN, pa.list_(pa.int8(), size), "features"))
    rng, first, made = np.random.default_rng(6), 0, []
    for table in parts:
        values = rng.normal(0, 20, (len(table), size))
        values[(np.arange(len(table)) + first) % 10 == 3, :3] += 45
        values[table["status"].to_numpy() != OK] = NO_FEATURES
        whole = np.clip(np.rint(values), NO_FEATURES, 127).astype(np.int8)
        column = pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), type=schema.field(FEATURE_COLUMN).type)
        made.append(pa.table([*table.columns, column], schema=schema))
        first += len(table)
    return schema, made
