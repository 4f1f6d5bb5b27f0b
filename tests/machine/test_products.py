"""No product takes the place of an input, or without `--overwrite` that of somebody else's file."""

import os
from pathlib import Path

import pytest

from machine import products, seals
from machine.files import DataError, replacing
from machine.products import Product


def write_own(path: Path, source: str = seals.NO_SOURCE) -> None:
    with replacing(path, sealed=True) as temporary:
        temporary.write_text(f"content {seals.blank(source)}")


def test_own_files_of_the_same_inputs_are_replaced(tmp_path: Path):
    source = seals.source_of("these images")
    write_own(tmp_path / "a", source)
    (tmp_path / "empty").touch()
    products.check([Product(tmp_path / name, source) for name in ("a", "empty", "new")])
    with pytest.raises(DataError, match=r"a exists, from other inputs or options; .* use --overwrite$"):
        products.check([Product(tmp_path / "a", seals.source_of("other images"))])


def test_one_message_names_all_files_in_the_way(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    write_own(tmp_path / "changed")
    with (tmp_path / "changed").open("a") as file:
        file.write("a note")
    listed = [Product(tmp_path / name) for name in ("mine", "changed")]
    with pytest.raises(DataError) as refused:
        products.check(listed)
    assert "mine exists and is not of this project, " in str(refused.value)
    assert "changed exists and was changed or damaged after it was written; " in str(refused.value)
    products.check(listed, overwrite=True)


@pytest.mark.parametrize(
    "obstacle", ["input", "link to an input", "folder", "pipe", "link", "below a file", "long name"]
)
def test_some_files_are_never_replaced(obstacle: str, tmp_path: Path):
    path, inputs = tmp_path / "a", []
    if obstacle == "input":
        write_own(path)
        inputs = [path]
    elif obstacle == "link to an input":
        (tmp_path / "b").write_text("image")
        path.symlink_to("b")
        inputs = [tmp_path / "b"]
    elif obstacle == "folder":
        path.mkdir()
    elif obstacle == "pipe":
        os.mkfifo(path)
    elif obstacle == "link":
        path.symlink_to("nowhere")
    elif obstacle == "below a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "a"
    else:
        path = tmp_path / ("a" * 250)
    with pytest.raises(DataError, match=r"^nothing is written: .*; move them away or name other outputs$"):
        products.check([Product(path)], inputs, overwrite=True)


def test_products_of_other_inputs_are_announced(tmp_path: Path, capsys):
    source, other = seals.source_of("these models"), seals.source_of("other models")
    for name, its in (("same", source), ("old", seals.NO_SOURCE), ("a\nb", other), ("c", other)):
        write_own(tmp_path / name, its)
    (tmp_path / "mine").write_text("mine")
    products.announce(Product(tmp_path / name, source) for name in ("same", "old", "a\nb", "c", "mine", "new"))
    assert capsys.readouterr().out == (
        f"{tmp_path}/a\\nb, {tmp_path}/c exist, from other inputs or options, and will be replaced\n"
    )
