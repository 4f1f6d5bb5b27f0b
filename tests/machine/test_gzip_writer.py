"""Equal content gives equal gzip files, which any program reads."""

import gzip
from pathlib import Path

from machine.gzip_writer import GzipWriter


def test_bytes_depend_on_the_content_alone(tmp_path: Path):
    content = bytes(range(256)) * 1000
    for name in ("a.gz", "another name.gz"):
        with (tmp_path / name).open("wb") as raw, GzipWriter(raw) as file:
            assert file.write(content[:1000]) == 1000
            file.write(memoryview(content)[1000:])
    first, second = ((tmp_path / name).read_bytes() for name in ("a.gz", "another name.gz"))
    assert first == second and gzip.decompress(first) == content
