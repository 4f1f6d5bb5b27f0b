"""The preparation scripts: what they write, and what they say about input that is not as expected."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, Survey, files_of, write_csv

import check_label_constraints
import convert_training_labels_to_npy
import copy_data_to_shm
import create_test_ids_file
import create_train_ids_file
import load_data
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import save_array
from machine.files import DataError
from survey import images
from survey.folders import Folders, adopt


def test_bad_input_ends_a_script_with_one_line(tmp_path: Path):
    command = [sys.executable, ROOT / "create_train_ids_file.py", "--root", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_train_ids_follow_the_table(survey: Survey, run_main, capsys):
    shuffled = np.random.default_rng(0).permutation(len(survey.train_ids))
    write_csv(survey.csv, survey.train_ids[shuffled], survey.labels[shuffled])
    run_main(create_train_ids_file, "--root", survey.root)
    ids = np.load(survey.root / "data" / "train_ids.npy")
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, survey.train_ids[shuffled])
    assert "wrote 30 ids" in capsys.readouterr().out


def test_train_ids_of_another_data_folder(survey: Survey, run_main, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(survey.root / "data", elsewhere)
    run_main(create_train_ids_file, "--root", tmp_path, "--data", elsewhere)
    np.testing.assert_array_equal(np.load(elsewhere / "train_ids.npy"), survey.train_ids)


def test_test_ids_sorted_by_number(survey: Survey, run_main, capsys):
    (survey.raw / "images_test_rev1" / "README.txt").write_text("no image")
    run_main(create_test_ids_file, "--root", survey.root)
    ids = np.load(survey.root / "data" / "test_ids.npy")
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, survey.test_ids)
    assert "wrote 8 ids" in capsys.readouterr().out


def test_labels_in_the_order_of_the_ids(prepared_survey: Survey, run_main):
    path = prepared_survey.root / "data" / "solutions_train.npy"
    path.unlink()
    shuffled = np.random.default_rng(1).permutation(len(prepared_survey.train_ids))
    write_csv(prepared_survey.csv, prepared_survey.train_ids[shuffled], prepared_survey.labels[shuffled])
    run_main(convert_training_labels_to_npy, "--root", prepared_survey.root)
    labels = np.load(path)
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, prepared_survey.labels.astype(np.float32))
    np.testing.assert_array_equal(images.load_labels(), labels)


def test_labels_of_a_part_of_the_table(prepared_survey: Survey, run_main):
    chosen = [28, 3, 11]
    save_array(prepared_survey.root / "data" / "train_ids.npy", prepared_survey.train_ids[chosen])
    run_main(convert_training_labels_to_npy, "--root", prepared_survey.root)
    np.testing.assert_array_equal(images.load_labels(), prepared_survey.labels[chosen].astype(np.float32))


def test_valid_labels_obey_the_tree(survey: Survey, run_main, capsys):
    run_main(check_label_constraints, "--root", survey.root)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 11 + 1 + 1
    assert all(line.endswith(" 0") for line in lines[1:13])
    assert "checked 30 galaxies" in lines[-1]


def test_rounding_fails_a_tolerance_of_zero(survey: Survey, run_main):
    with pytest.raises(DataError, match="within 0 of the decision tree"):
        run_main(check_label_constraints, "--root", survey.root, "--tolerance", 0)


def test_violations_are_counted_by_question(survey: Survey, run_main, capsys):
    labels = survey.labels.copy()
    labels[[4, 9], GALAXY_ZOO_2.column(9, 3)] += 0.125
    write_csv(survey.csv, survey.train_ids, labels)
    with pytest.raises(DataError, match=rf"2 of 30 galaxies are not, GalaxyID {survey.train_ids[4]} first"):
        run_main(check_label_constraints, "--root", survey.root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[9].split()[:3] == ["sum", "of", "question"] and lines[9].split()[3:] == ["9", "1.25e-01", "2"]
    assert [line.split()[-1] for line in lines[1:12] if line != lines[9]] == ["0"] * 10
    run_main(check_label_constraints, "--root", survey.root, "--tolerance", 0.5)


def test_values_outside_the_unit_interval(survey: Survey, run_main, capsys):
    labels = survey.labels.copy()
    labels[7, GALAXY_ZOO_2.slices[6]] = -0.5, 1.5
    labels[7, GALAXY_ZOO_2.slices[8]] = -0.5 / 7
    write_csv(survey.csv, survey.train_ids, labels)
    with pytest.raises(DataError, match="1 of 30 galaxies"):
        run_main(check_label_constraints, "--root", survey.root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[12].split()[-2:] == ["5.00e-01", "1"]
    assert all(line.split()[-1] == "0" for line in lines[1:12])


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "small"])
def test_a_tolerance_that_is_none(run_main, capsys, text: str):
    with pytest.raises(SystemExit) as ended:
        run_main(check_label_constraints, f"--tolerance={text}")
    assert ended.value.code == 2
    assert "--tolerance" in capsys.readouterr().err


def images_of(survey: Survey) -> dict[str, bytes]:
    return {name: content for name, content in files_of(survey.raw).items() if name.endswith(".jpg")}


@pytest.fixture
def ram(tmp_path: Path) -> Path:
    folder = tmp_path / "ram"
    folder.mkdir()
    return folder


def test_copy_then_skip_then_remove(survey: Survey, ram: Path, run_main, capsys):
    arguments = (copy_data_to_shm, "--root", survey.root, "--ram", ram)
    run_main(*arguments)
    copies = files_of(ram)
    manifests = {f"images_{subset}_rev1/.survey.json" for subset in ("train", "test")}
    assert manifests == copies.keys() - images_of(survey).keys()
    assert {name: copies[name] for name in copies.keys() - manifests} == images_of(survey)
    assert "wrote 30 images" in (out := capsys.readouterr().out) and "wrote 8 images" in out

    untouched = ram / "images_train_rev1" / f"{survey.train_ids[0]}.jpg"
    before = untouched.stat().st_mtime_ns
    truncated = ram / "images_test_rev1" / "7.jpg"
    truncated.write_bytes(truncated.read_bytes()[:100])
    run_main(*arguments)
    assert {name: content for name, content in files_of(ram).items() if name not in manifests} == images_of(survey)
    assert untouched.stat().st_mtime_ns == before
    assert "wrote 0 images" in (out := capsys.readouterr().out) and "wrote 1 images" in out

    run_main(*arguments, "--remove")
    assert list(ram.iterdir()) == []
    assert len(images_of(survey)) == 38
    run_main(*arguments, "--remove")
    assert "removed 0 images" in capsys.readouterr().out


def test_images_load_from_the_copy(survey: Survey, ram: Path, run_main):
    run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram)
    shutil.rmtree(survey.raw / "images_test_rev1")
    adopt(Folders(root=survey.root, ram=ram))
    assert load_data.load_image(31, "test", from_ram=True).shape == (424, 424, 3)


def test_remove_leaves_what_it_did_not_copy(survey: Survey, ram: Path, run_main, capsys):
    run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram)
    kept = {
        "note.txt": b"mine",
        "other/1.jpg": b"mine",
        "images_train_rev1/note.txt": b"mine",
        "images_train_rev1/1.jpg": b"no original",
    }
    for name, content in kept.items():
        (ram / name).parent.mkdir(exist_ok=True)
        (ram / name).write_bytes(content)
    run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram, "--remove")
    assert files_of(ram) == kept
    assert "kept 1 images" in capsys.readouterr().out


@pytest.mark.parametrize("action", [[], ["--remove"]])
def test_the_originals_are_no_copy(survey: Survey, run_main, tmp_path: Path, action: list[str]):
    link = tmp_path / "link"
    link.symlink_to(survey.raw)
    for ram in (survey.raw, link):
        with pytest.raises(DataError, match="a folder other than that of the originals"):
            run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram, *action)
    assert len(images_of(survey)) == 38


def test_copy_refuses_when_space_is_short(survey: Survey, ram: Path, run_main, monkeypatch: pytest.MonkeyPatch):
    needed = sum(-(-len(content) // 4096) * 4096 for content in images_of(survey).values())
    usage = type(shutil.disk_usage(ram))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(needed, 1, needed - 1))
    with pytest.raises(DataError, match=r"expected .* MB free in .*, got .* MB; enlarge it"):
        run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram)
    assert list(ram.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(needed, 0, needed))
    run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram)
    assert len([name for name in files_of(ram) if name.endswith(".jpg")]) == 38


def test_copy_without_images_or_without_a_place(survey: Survey, ram: Path, run_main):
    with pytest.raises(DataError, match="name one with --ram"):
        run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram / "nowhere")
    shutil.rmtree(survey.raw / "images_test_rev1")
    with pytest.raises(DataError, match="expected the test images in"):
        run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram)
    assert list(ram.iterdir()) == []
