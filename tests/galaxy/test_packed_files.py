"""gzip, bzip2, xz and compress are unpacked; damaged files and too large ones are refused."""

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from galaxy import packed_files
from galaxy.image_formats import Unreadable
from galaxy.packed_files import is_packed, unpack


def compress(data: bytes, max_bits: int = 16) -> bytes:
    """Encode as compress(1) does, without a clear code: dictionaries of strings, in the words of the manual."""
    out, group = bytearray(b"\x1f\x9d" + bytes([0x80 | max_bits])), []
    bits, table, current = 9, {bytes([value]): value for value in range(256)}, b""
    next_code = 257

    def flush(pad: bool) -> None:
        number = sum(code << (bits * index) for index, code in enumerate(group))
        out.extend(number.to_bytes(bits if pad else -(-bits * len(group) // 8), "little"))
        group.clear()

    def put(code: int) -> None:
        group.append(code)
        if len(group) == 8:
            flush(True)

    for value in data:
        longer = current + bytes([value])
        if longer in table:
            current = longer
            continue
        put(table[current])
        if next_code < 1 << max_bits:
            table[longer] = next_code
            next_code += 1
            if next_code > 1 << bits and bits < max_bits:
                if group:
                    flush(True)
                bits += 1
        current = bytes([value])
    if current:
        put(table[current])
    if group:
        flush(False)
    return bytes(out)


PACKERS = (gzip.compress, bz2.compress, lzma.compress, compress)
RNG = np.random.default_rng(0)
CONTENTS = {
    "one byte": b"a",
    "a run": b"a" * 5000,
    "text": b"SIMPLE  =                    T" * 900,
    "noise": RNG.integers(0, 40, 120_000).astype(np.uint8).tobytes(),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("pack", [*PACKERS, lambda data: compress(data, 12)])
def test_content_is_unpacked(content: str, pack, tmp_path: Path):
    (tmp_path / "a").write_bytes(pack(CONTENTS[content]))
    assert is_packed(tmp_path / "a")
    assert unpack(tmp_path / "a").read() == CONTENTS[content]


def test_a_code_that_clears_the_table_starts_again(tmp_path: Path):
    codes = [97, 257, 256, 0, 0, 0, 0, 0, 98, 257]  # the group of the clear code is filled up
    number = sum(code << 9 * index for index, code in enumerate(codes))
    (tmp_path / "a").write_bytes(b"\x1f\x9d\x90" + number.to_bytes(12, "little"))
    assert unpack(tmp_path / "a").read()[:6] == b"aaabbb"


@pytest.mark.parametrize("pack", PACKERS[:3])
def test_half_a_file_is_refused(pack, tmp_path: Path):
    packed = pack(CONTENTS["noise"])
    (tmp_path / "a").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        unpack(tmp_path / "a")


@pytest.mark.parametrize("content", [b"\x1f\x9d", b"\x1f\x9d\x87ab", b"\x1f\x9d\x90\xff\xff\xff\xff"])
def test_wrong_codes_are_refused(content: bytes, tmp_path: Path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        unpack(tmp_path / "a")


@pytest.mark.parametrize("pack", PACKERS)
def test_a_bomb_is_refused(pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed_files, "MAX_UNPACKED", 1000)
    (tmp_path / "a").write_bytes(pack(bytes(1_000_000)))
    with pytest.raises(Unreadable, match="unpacks to more than 1000 bytes"):
        unpack(tmp_path / "a")


def test_other_files_are_not_packed(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"SIMPLE  =")
    assert not is_packed(tmp_path / "a")
