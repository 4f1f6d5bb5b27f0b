"""Bad images: each row of doc/bad_data.md that is about one, the scan that finds them, and that it is remembered."""

import errno
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import Survey, cases_of, draw_blob, refused, rows_of_page, write_jpeg

import extract_pysex_params_gen2
from galaxy import jpeg
from machine.arrays import save_array
from machine.files import DataError
from survey import bad_images, decoded_cache, folders, images
from survey.bad_images import check_images, find_bad, scan_images
from survey.folders import Folders, adopt, use_folders


def encoded(image: np.ndarray, kind: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


def with_header(data: bytes, offset: int, value: bytes) -> bytes:
    """Change the frame header of a JPEG: at 4 are the bits a sample, at 5 rows and columns, at 11 subsampling."""
    place = data.index(b"\xff\xc0") + offset
    return data[:place] + value + data[place + len(value) :]


def progressive(image: np.ndarray, num_scans: int) -> bytes:
    """Encode a progressive JPEG and repeat its last scan."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * num_scans + b"\xff\xd9"


def sparse(path: Path, num_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(num_bytes)


BLOB = draw_blob(np.random.default_rng(7))
UNDECODABLE = "cannot be decoded as a JPEG"
# What becomes of an image's file, and what is said of it.
IMAGES = {
    "missing image": [(Path.unlink, "is missing")],
    "truncated JPEG": [
        (lambda path, kept=kept: path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)]), UNDECODABLE)
        for kept in (0.0, 0.01, 0.5, 0.98)
    ]
    + [(lambda path: path.write_bytes(path.read_bytes()[:-1]), UNDECODABLE)]
    + [(lambda path: path.write_bytes(path.read_bytes()[:-900] + bytes(900)), UNDECODABLE)],
    "corrupt JPEG": [
        (lambda path: path.write_bytes(b"<html>404 Not Found</html>"), "it holds a web page"),
        (lambda path: path.write_bytes(bytes(5000)), "it holds zeros"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"\xff\xc4", b"\xff\xd9")), UNDECODABLE),
        (lambda path: path.write_bytes(with_header(path.read_bytes(), 11, b"\x14")), "unknown subsampling"),
        (lambda path: path.write_bytes(path.read_bytes()[:800] + b"\xff\xd9"), UNDECODABLE),
    ],
    "wrong size": [
        (lambda path: write_jpeg(path, BLOB[:, 1:]), "wrong size: expected 424x424 pixels, got 423x424"),
        (lambda path: write_jpeg(path, BLOB[:212]), "got 424x212"),
        (lambda path: write_jpeg(path, np.repeat(BLOB, 2, axis=0)), "got 424x848"),
    ],
    "header of 60,000 x 60,000 pixels": [
        (lambda path: path.write_bytes(with_header(path.read_bytes(), 5, b"\xea\x60\xea\x60")), "got 60000x60000")
    ],
    "CMYK JPEG": [
        (lambda path: path.write_bytes(encoded(BLOB, "JPEG", "CMYK")), "wrong colours: expected RGB, got CMYK")
    ],
    "16 or 12 bits a sample": [
        (lambda path: path.write_bytes(encoded(BLOB[:, :, 0].astype(np.uint16), "PNG")), "it holds a PNG image"),
        (lambda path: path.write_bytes(with_header(path.read_bytes(), 4, b"\x0c")), r"precision 12"),
    ],
    "PNG named .jpg": [(lambda path: path.write_bytes(encoded(BLOB, "PNG")), "it holds a PNG image")],
    "too large a file, or too many scans": [
        (lambda path: sparse(path, jpeg.MAX_BYTES + 1), "too large: expected at most 1048576 bytes, got 1048577"),
        (lambda path: path.write_bytes(progressive(BLOB, 200)), "expected at most 100 scans, got 210"),
    ],
    "folder or pipe named .jpg": [
        (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a file"),
    ],
}


@pytest.mark.parametrize(("spoil", "complaint"), cases_of(IMAGES))
def test_bad_image(prepared_survey: Survey, run_main, spoil, complaint: str):
    img_id = prepared_survey.train_ids[0]
    path = prepared_survey.raw / "images_train_rev1" / f"{img_id}.jpg"
    spoil(path)
    line = refused(run_main, prepared_survey.root, extract_pysex_params_gen2, "--num-workers", 1)
    assert line.startswith(f"error: image {path} ") and line.endswith("; download it again")
    assert re.search(complaint, line)
    use_folders(prepared_survey.root)
    (bad,) = scan_images("train", prepared_survey.train_ids[:2]).items()
    assert bad[0] == 0 and bad[1] in line


@pytest.mark.parametrize("num_workers", [1, 2])
def test_scan_finds_all_bad_images(prepared_survey: Survey, monkeypatch: pytest.MonkeyPatch, num_workers: int):
    monkeypatch.setattr(bad_images, "FEW_IMAGES", 0)
    folder = prepared_survey.raw / "images_train_rev1"
    ids = prepared_survey.train_ids
    assert scan_images("train", ids, num_workers=num_workers) == {}
    (folder / f"{ids[3]}.jpg").unlink()
    (folder / f"{ids[29]}.jpg").write_bytes(b"")
    write_jpeg(folder / f"{ids[12]}.jpg", BLOB[:10])
    bad = scan_images("train", ids, num_workers=num_workers)
    assert list(bad) == [3, 12, 29]
    assert bad[3] == "is missing"
    assert "got 424x10" in bad[12] and "it holds nothing" in bad[29]


def test_scan_of_the_copies(prepared_survey: Survey, tmp_path: Path):
    write_jpeg(tmp_path / "ram" / "images_test_rev1" / "31.jpg", BLOB)
    adopt(Folders(root=prepared_survey.root, ram=tmp_path / "ram", from_ram=True))
    assert scan_images("test", [31, 7]) == {1: "is missing"}
    use_folders(prepared_survey.root)
    assert scan_images("test", [31, 7]) == {}


def test_fail_names_ten_bad_images_and_counts_the_rest(prepared_survey: Survey):
    folder, ids = prepared_survey.raw / "images_train_rev1", prepared_survey.train_ids
    for img_id in ids[4:16]:
        (folder / f"{img_id}.jpg").write_bytes(b"GIF89a")
    with pytest.raises(DataError) as raised:
        check_images("train")
    line = str(raised.value)
    assert line.startswith(f"{folder}: 12 of 30 train images are bad: {ids[4]}.jpg cannot be decoded")
    assert re.findall(r"[0-9]+(?=\.jpg)", line) == [str(img_id) for img_id in ids[4:14]]
    assert line.count("it holds a GIF image") == 10
    assert line.endswith("and 2 more; download them again, or run with --on-bad-image skip")
    assert "\n" not in line


def test_skip_says_what_is_left_out(prepared_survey: Survey, capsys):
    assert check_images("test", "skip") == {}
    assert capsys.readouterr().out == ""
    (prepared_survey.raw / "images_test_rev1" / "100.jpg").unlink()
    assert check_images("test", "skip") == {2: "is missing"}
    out = capsys.readouterr().out
    assert out.startswith("left out: ") and "1 of 8 test images are bad: 100.jpg is missing" in out


def test_nothing_left_is_an_error_all_the_same(prepared_survey: Survey):
    for img_id in prepared_survey.test_ids:
        (prepared_survey.raw / "images_test_rev1" / f"{img_id}.jpg").unlink()
    with pytest.raises(DataError, match="8 of 8 test images are bad"):
        check_images("test", "skip")
    (prepared_survey.raw / "images_test_rev1").rmdir()
    with pytest.raises(DataError, match=r"images_test_rev1 is missing; download it"):
        check_images("test", "skip")
    with pytest.raises(DataError, match=r"images_test_rev1 is missing; run copy_data_to_shm\.py"):
        adopt(Folders(root=prepared_survey.root, ram=prepared_survey.root / "ram", from_ram=True))
        check_images("test", "skip")


def test_another_word_than_fail_and_skip():
    with pytest.raises(ValueError, match="'ignore'"):
        check_images("test", "ignore")


def test_the_page_has_a_row_for_each_test():
    assert rows_of_page("Images") == {*IMAGES, "greyscale JPEG"}


def rewrite(change) -> object:
    """Return what changes the values of a memory file."""
    return lambda path: path.write_text(json.dumps(change(json.loads(path.read_text()))))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "no text": lambda path: path.write_bytes(path.read_bytes()[:50] + bytes(range(256))),
    "zeros": lambda path: path.write_bytes(bytes(100)),
    "without a list of bad images": rewrite(lambda scan: {"listing": scan["listing"]}),
    "with another kind of list": rewrite(lambda scan: scan | {"bad": ["3"]}),
    "with words for indices": rewrite(lambda scan: scan | {"bad": {"three": "is missing"}}),
    "of other images": rewrite(lambda scan: scan | {"listing": "0"}),
    "deeply nested": lambda path: path.write_text('{"listing": ' + "[" * 100_000),
}


class TestMemory:
    """One look at all images is remembered until a file changes."""

    @pytest.fixture
    def decoded(self, prepared_survey: Survey, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """List the names of the images that are decoded."""
        decoded = []
        decode = jpeg.decode_image

        def decode_and_note(path: str) -> np.ndarray:
            decoded.append(Path(path).name)
            return decode(path)

        monkeypatch.setattr(jpeg, "decode_image", decode_and_note)
        return decoded

    @pytest.fixture
    def scanned(self, prepared_survey: Survey, decoded: list[str]) -> Survey:
        """Look at the 30 training images, of which two are bad."""
        folder = prepared_survey.raw / "images_train_rev1"
        (folder / f"{prepared_survey.train_ids[3]}.jpg").unlink()
        (folder / f"{prepared_survey.train_ids[29]}.jpg").write_bytes(b"GIF89a")
        assert list(find_bad("train")) == [3, 29]
        assert len(decoded) == 30
        decoded.clear()
        return prepared_survey

    def test_the_second_look_decodes_nothing_and_says_the_same_of_bad_images(self, scanned: Survey, decoded, capsys):
        bad = find_bad("train")
        assert list(bad) == [3, 29]
        assert bad[3] == "is missing" and "it holds a GIF image" in bad[29]
        use_folders(scanned.root)
        assert check_images("train", "skip") == bad
        assert "2 of 30 train images are bad" in capsys.readouterr().out
        with pytest.raises(DataError, match=r"2 of 30 train images are bad: .* is missing, .*it holds a GIF image"):
            check_images("train")
        assert decoded == []

    def test_good_images_are_remembered_as_well(self, prepared_survey: Survey, decoded: list[str]):
        for _ in range(2):
            assert find_bad("test") == {}
        assert len(decoded) == 8

    def test_the_other_subset_is_looked_at_on_its_own(self, scanned: Survey, decoded: list[str]):
        assert find_bad("test") == {}
        assert len(decoded) == 8

    @pytest.mark.parametrize("change", ["size", "time", "gone", "mended", "other suffix"])
    def test_a_changed_file_is_looked_at_again(self, scanned: Survey, decoded: list[str], change: str):
        ids, folder = scanned.train_ids, scanned.raw / "images_train_rev1"
        path, expected = folder / f"{ids[7]}.jpg", [3, 29]
        if change == "size":
            path.write_bytes(path.read_bytes()[:-900])
            expected = [3, 7, 29]
        elif change == "time":
            spoilt, stat = bytes(path.stat().st_size), path.stat()
            path.write_bytes(spoilt)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
            expected = [3, 7, 29]
        elif change == "gone":
            path.unlink()
            expected = [3, 7, 29]
        elif change == "mended":
            write_jpeg(folder / f"{ids[29]}.jpg", BLOB)
            expected = [3]
        else:
            path.rename(path.with_suffix(".JPEG"))
        assert list(find_bad("train")) == expected
        assert path.with_suffix(".JPEG").name in decoded or path.name in decoded
        decoded.clear()
        assert list(find_bad("train")) == expected
        assert decoded == []

    def test_other_ids_are_looked_at_again(self, scanned: Survey, decoded: list[str]):
        save_array(scanned.root / "data" / "train_ids.npy", scanned.train_ids[::-1].copy())
        use_folders(scanned.root)
        assert list(find_bad("train")) == [0, 26]
        assert len(decoded) == 30

    def test_other_files_of_the_folder_change_nothing(self, scanned: Survey, decoded: list[str]):
        (scanned.raw / "images_train_rev1" / "._7.jpg").touch()
        (scanned.raw / "images_train_rev1" / "README.txt").touch()
        find_bad("train")
        assert decoded == []

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_memory_is_made_again(self, scanned: Survey, decoded: list[str], damage: str):
        path = folders.current.scan("train")
        whole = path.read_bytes()
        DAMAGES[damage](path)
        assert list(find_bad("train")) == [3, 29]
        assert len(decoded) == 30
        assert path.read_bytes() == whole

    def test_a_folder_stands_where_the_memory_is_to_be(self, prepared_survey: Survey, decoded: list[str]):
        folders.current.scan("test").mkdir(parents=True)
        assert find_bad("test") == {}

    def test_a_read_only_folder_does_not_matter(self, prepared_survey: Survey, decoded: list[str], monkeypatch):
        # Root may write anywhere: what the system would say is said for it.
        def refuse(path: Path, *arguments: object, **options: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", refuse)
            assert find_bad("test") == {}
            patch.setattr(Path, "mkdir", refuse)
            assert find_bad("test") == {}
        assert len(decoded) == 16
        assert not list(prepared_survey.root.glob("analysis/*"))

    def test_the_copies_are_remembered_apart(self, scanned: Survey, decoded: list[str], tmp_path: Path):
        shutil.copytree(scanned.raw / "images_train_rev1", tmp_path / "ram" / "images_train_rev1")
        adopt(Folders(scanned.root, ram=tmp_path / "ram", from_ram=True))
        assert list(find_bad("train")) == [3, 29]
        assert len(decoded) == 30
        use_folders(scanned.root)
        find_bad("train")
        assert len(decoded) == 30

    def test_a_map_of_decoded_images_is_no_more_looked_at(self, prepared_survey: Survey, decoded, tmp_path: Path):
        adopt(Folders(prepared_survey.root, ram=tmp_path))
        decoded_cache.build("test", num_workers=1)
        decoded.clear()
        assert find_bad("test") == {}
        assert decoded == []
        assert images.ids_of("test").tolist() == prepared_survey.test_ids.tolist()


@pytest.mark.parametrize("content", [b"my notes\nof two lines", b"\xff\xd8\xff\xe0 a picture", b'{"mine": 1}', b"7"])
def test_a_file_of_somebody_under_the_name_of_the_result_stays(prepared_survey: Survey, content: bytes, capsys):
    path = folders.current.scan("test")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert find_bad("test") == {}
    assert path.read_bytes() == content
    assert "is not of this project" in capsys.readouterr().out
