"""Hostile tables, drawn from a seed: small files that ask for memory, time or other files."""

import base64
import gzip
import io
import json
import random
import zlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from pyarrow import parquet

Draw = Callable[[random.Random], tuple[str, bytes]]
HEADER = b"id_str,file_loc\n"
GIANT = (10**9, 2**31 - 1, 2**31, 2**62, 10**30, -1, 0)


def vast_csv(rng: random.Random) -> tuple[str, bytes]:
    """Repeat cells, rows, quotes or columns."""
    separator, count = rng.choice(",;\t"), 10 ** rng.randint(3, 6)
    bodies = [
        b"a,b" + f"{separator}x".encode() * count + b"\n" + b"1,2\n",
        HEADER + b"1," + b"9" * count + b"\n",
        HEADER + b'"' * count,
        HEADER + b"\n" * count,
        HEADER + b"\x00" * count,
        HEADER + b"1,2\n" * count + b"1,2,3\n",
        HEADER + b'1,"' + b"x\n" * count,
        HEADER + b"1e999,\\U00110000\\ud800\n",
        b"id_str,file_loc,a\n" + b"x,y,1e400\nx,y,-0\nx,y,9999999999999999999999\n" * (count // 1000),
        b"\xff\xfe" + "id_str,file_loc\n1,2\n".encode("utf-16-le") * (count // 100),
        b"id_str," * count + b"\n",
        HEADER + bytes(range(256)) * (count // 256),
        b"id_str,file_loc,id_str,file_loc\n1,2,3,4\n",
    ]
    return ".csv", rng.choice(bodies)


def packed_csv(rng: random.Random) -> tuple[str, bytes]:
    """Pack what unpacks to hundreds of megabytes."""
    unit = rng.choice([b"\x00", b"\n", b'1,"', b"1,2\n", b"x", b'""', b",,,,\n"]) * 2**16
    packer, content = zlib.compressobj(9, wbits=31), []
    for block in (HEADER, *[unit] * rng.choice([10, 1000, 4000])):
        content.append(packer.compress(block))
    content.append(packer.flush())
    packed = b"".join(content)
    return ".csv.gz", packed[: len(packed) // 2] if rng.random() < 0.2 else packed


def _parquet(columns: dict[str, pa.Array], **options: object) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, compression="zstd", **options)
    return file.getvalue()


def vast_parquet(rng: random.Random) -> tuple[str, bytes]:
    """Store equal rows, long texts, empty or nested columns once."""
    rows = 10 ** rng.randint(4, 6)
    zeros = pa.array(np.zeros(rows, np.int8))
    few = min(rows, 10_000)
    deep: pa.DataType = pa.int8()
    for _ in range(rng.choice([3, 60])):
        deep = pa.list_(deep)
    columns = [
        {"id_str": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array(["x" * rng.choice([10, 5000])]))},
        {f"c{index}": pa.nulls(rows) for index in range(200)} | {"id_str": zeros},
        {f"c{index}": pa.array(np.zeros(10, np.int8)) for index in range(rng.choice([100, 5000]))},
        {"id_str": pa.array([b"\0" * rng.choice([10**6, 3 * 10**8])])},
        {"id_str": pa.array([[0] * rng.choice([10, 10**7])])},
        {"id_str": pa.array([None, None], deep)},
        {"id_str": pa.array([{"a": [{"b": "x" * 100}] * 10}] * few)},
        {"id_str": pa.array([2**40] * few, pa.timestamp("s"))},
        {"id_str": pa.array([[("a", 1)]] * few, pa.map_(pa.string(), pa.int8()))},
        {f"c{index}": zeros for index in range(30)},
    ]
    chosen = rng.choice(columns)
    num_rows = len(next(iter(chosen.values())))
    chosen.setdefault("file_loc", pa.array(["a.jpg"] * num_rows))
    return ".parquet", _parquet(chosen, use_dictionary=rng.random() < 0.8)


def odd_shard(rng: random.Random) -> tuple[str, bytes]:
    """Note shards that are none, and provenance of other types and depths."""
    notes = ["1/999999999 a", "0/0 a", "9/2 a", "1/1 a", "1/1 " + "a" * 10**5, "x"]
    provenances = ["[" * 10**5, "[]", '{"a":' * 500 + "1" + "}" * 500, "null", '{"models": 3}', "\x00", "1" * 10**5]
    metadata = {b"shard": rng.choice(notes).encode(), b"provenance": rng.choice(provenances).encode()}
    types = [
        pa.string(),
        pa.decimal128(10),
        pa.list_(pa.list_(pa.int8())),
        pa.struct({"a": pa.int8()}),
        pa.duration("s"),
    ]
    schema = pa.schema([pa.field("id_str", pa.string()), pa.field("b", rng.choice(types))], metadata)
    file = io.BytesIO()
    parquet.write_table(schema.empty_table(), file)
    return ".parquet", file.getvalue()


def damaged_parquet(rng: random.Random) -> tuple[str, bytes]:
    """Change bytes of a table, most of them in its footer."""
    content = bytearray(_parquet({"id_str": pa.array([str(i) for i in range(999)]), "file_loc": pa.array(["a"] * 999)}))
    for _ in range(rng.randint(1, 8)):
        content[rng.choice([-rng.randint(1, 600), rng.randrange(len(content))])] = rng.randrange(256)
    return ".parquet", bytes(content)


def _cards(*cards: str) -> bytes:
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def _value(name: str, value: object) -> str:
    return f"{name:8}= {value!s:>20}"


def odd_fits(rng: random.Random) -> tuple[str, bytes]:
    """State giant rows, columns, vectors and heaps in a header."""
    primary = _cards(_value("SIMPLE", "T"), _value("BITPIX", 8), _value("NAXIS", 0), _value("EXTEND", "T"))
    values: dict[str, object] = {"BITPIX": 8, "NAXIS": 2, "NAXIS1": 16, "NAXIS2": 2, "PCOUNT": 0, "GCOUNT": 1}
    values |= {"TFIELDS": 2, "TFORM1": "'8A      '", "TFORM2": "'8A      '"}
    forms = ["'1PD(999999999)'", "'1QD     '", "'999999999D'", "'0A      '", "'1X      '", "'99999999X'", "'8Z      '"]
    for name in rng.sample(["NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS", "GCOUNT", "THEAP"], rng.randint(0, 2)):
        values[name] = rng.choice(GIANT)
    if rng.random() < 0.7:
        values["TFORM2"] = rng.choice(forms)
    if rng.random() < 0.4:
        values["TDIM2"] = rng.choice(["'(99999,99999)'", "'(2,2,2,2)'", "'(-1,3)'", "'()'"])
    odd = rng.choice(["TNULL1", "TSCAL2", "TZERO2", "ZIMAGE", "TTYPE1"])
    values[odd] = rng.choice(["T", "1E308", "'x'", "-1", "NaN"])
    names = ["'id_str  '", "'file_loc'"] if rng.random() < 0.8 else ["'id_str  '"] * 2
    columns = [_value(f"TTYPE{index}", name) for index, name in enumerate(names, 1)]
    extension = rng.choice(["'BINTABLE'", "'BINTABLE'", "'TABLE   '"])
    header = _cards(_value("XTENSION", extension), *(_value(*item) for item in values.items()), *columns)
    data = bytes(rng.randrange(256) for _ in range(32)) * rng.choice([1, 90])
    content = primary + header + data.ljust(2880, b"\0")
    if rng.random() < 0.2:
        content = primary + b" " * rng.choice([10**5, 10**7])
    return ".fits", gzip.compress(content + bytes(10**8)) if rng.random() < 0.1 else content


def shared_heap(rng: random.Random) -> tuple[str, bytes]:
    """Let each row of a FITS table have the whole heap as its vector."""
    rows, length = 10 ** rng.randint(2, 5), 10 ** rng.randint(4, 6)
    values = {"BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": rows, "PCOUNT": length, "GCOUNT": 1, "TFIELDS": 1}
    notes = [_value("TFORM1", f"'1PB({length})'"), _value("TTYPE1", "'id_str  '")]
    primary = _cards(_value("SIMPLE", "T"), _value("BITPIX", 8), _value("NAXIS", 0), _value("EXTEND", "T"))
    header = _cards(_value("XTENSION", "'BINTABLE'"), *(_value(*item) for item in values.items()), *notes)
    body = np.array([[length, 0]] * rows, ">i4").tobytes() + bytes(length)
    return ".fits", primary + header + body + bytes(-len(body) % 2880)


def odd_ecsv(rng: random.Random) -> tuple[str, bytes]:
    """Define types, shapes, aliases and objects in the header of an ECSV."""
    datatype = rng.choice(["string", "int64", "float64", "object", "complex256", "os.system", "bool"])
    subtype = rng.choice(["", "float64[999999999]", "json", "int64[99999,99999]", "float64[null]", "[[["])
    extra = f", subtype: '{subtype}'" if subtype else ""
    metas = [
        "a: 1",
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]",
        "a: " + "[" * rng.choice([100, 5000]),
        "a: !!python/object/apply:os.system [exit]",
        "__serialized_columns__: {id_str: {__class__: os.system, value: !astropy.table.SerializedColumn {name: b}}}",
        "a: " + "x" * 10**6,
    ]
    meta = rng.choice(metas).splitlines()
    lines = ["%ECSV 1.0", "---", "datatype:", f"- {{name: id_str, datatype: {datatype}{extra}}}"]
    lines += ["- {name: file_loc, datatype: string}", "meta: !!omap", *(f"- {line}" for line in meta)]
    lines = [f"# {line}" for line in lines] + ["id_str file_loc"]
    cell = rng.choice(["1", '"' + "[" * 5000 + '"', '"[1,2,3]"', '""', "9" * 10**4])
    return ".ecsv", "\n".join([*lines, *[f"{cell} a.jpg"] * rng.choice([1, 100, 20_000])]).encode()[: 2**22]


def odd_votable(rng: random.Random) -> tuple[str, bytes]:
    """Announce giant arrays, define entities, refer to devices, pack zeros, and nest."""
    entity = rng.choice(["", "", '<!DOCTYPE a [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'])
    system = '<!DOCTYPE a SYSTEM "file:///dev/zero">' if rng.random() < 0.1 else ""
    rows = f' nrows="{rng.choice(GIANT)}"' if rng.random() < 0.4 else ""
    size = rng.choice(["*", "*", "1000000000", "99999x99999", "10000000", "-1", "x", "5*"])
    kind = rng.choice(["char", "unicodeChar", "double", "floatComplex", "bit", "other"])
    zeros = base64.b64encode(gzip.compress(bytes(10 ** rng.choice([3, 8])))).decode()
    raw = base64.b64encode(np.array([2**31 - 1, 0], ">u4").tobytes() * 9).decode()
    cells = "<TR><TD>a</TD><TD>b</TD></TR>" * rng.choice([1, 10_000])
    data = rng.choice(
        [
            f"<TABLEDATA>{cells}</TABLEDATA>",
            f'<BINARY><STREAM encoding="gzip">{zeros}</STREAM></BINARY>',
            f'<BINARY2><STREAM encoding="base64">{raw}</STREAM></BINARY2>',
            f'<BINARY><STREAM href="{rng.choice(["file:///dev/zero", "http://192.0.2.1/", "ftp://x"])}"/></BINARY>',
            f'<FITS><STREAM encoding="base64">{raw}</STREAM></FITS>',
            "<TABLEDATA>&a;&b;</TABLEDATA>",
            "<a>" * rng.choice([50, 10**5]),
        ]
    )
    fields = f'<FIELD name="id_str" datatype="{kind}" arraysize="{size}"/>'
    fields += '<FIELD name="file_loc" datatype="char" arraysize="*"/>'
    start = (
        f'<?xml version="1.0"?>{entity or system}<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
    )
    end = "</TABLE></RESOURCE></VOTABLE>"
    return ".vot", f"{start}<RESOURCE><TABLE{rows}>{fields}<DATA>{data}</DATA>{end}".encode()


def damaged_text(rng: random.Random) -> tuple[str, bytes]:
    """Change bytes of a text table, or give it another's ending."""
    suffix, content = rng.choice([odd_ecsv, odd_votable, vast_csv, odd_fits])(rng)
    changed = bytearray(content[: 2**16])
    for _ in range(rng.randint(1, 30)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return rng.choice([suffix, ".csv", ".vot", ".ecsv", ".fits", ".parquet"]), bytes(changed)


def csv_metadata(rng: random.Random) -> tuple[str, bytes]:
    """Escape in ways that no writer does."""
    cells = ["\\x4", "\\", "\\u12", "\\U0010ffff", "\\N{DIGIT ONE}", "\\777", json.dumps("\ud800"), "=1+1", "\\x00"]
    return ".csv", HEADER + "".join(f"{rng.choice(cells)},{rng.choice(cells)}\n" for _ in range(99)).encode()


DRAWS: list[Draw] = [
    *(vast_csv, packed_csv, vast_parquet, odd_shard, damaged_parquet, odd_fits),
    *(shared_heap, odd_ecsv, odd_votable, damaged_text, csv_metadata),
]


def hostile_table(index: int, seed: int) -> tuple[str, bytes]:
    """Return the name, with its ending, and the content of the table with an index."""
    draw = DRAWS[index % len(DRAWS)]
    suffix, content = draw(random.Random(f"{seed} {index}"))
    return draw.__name__ + suffix, content
