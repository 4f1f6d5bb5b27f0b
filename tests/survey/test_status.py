"""The status of the data folder: one row per input, with a remedy for those that are not ready."""

from pathlib import Path

from tiny import Survey

from machine.arrays import save_gz
from survey import status
from survey.centering import GEN2_PARAMS
from survey.status import Row


def test_a_prepared_survey_is_ready_except_for_catalogues(prepared_survey: Survey):
    rows = {row.what: row for row in status.look()}
    assert {name: row.state for name, row in rows.items()} == {
        "training images": "30",
        "test images": "8",
        "table of votes": "found",
        "training ids": "30",
        "test ids": "8",
        "labels": "30 x 37",
        "decision tree": "obeyed",
        "catalogue gen2": "not measured",
        "catalogue extra": "not measured",
    }
    assert not [row for row in rows.values() if row.needed and row.remedy]
    for subset in ("train", "test"):
        save_gz(GEN2_PARAMS.path(subset), prepared_survey.labels)
    assert {row.what: row.state for row in status.look()}["catalogue gen2"] == "measured"


def test_missing_inputs_have_a_remedy(prepared_survey: Survey):
    (prepared_survey.raw / "images_train_rev1" / f"{prepared_survey.train_ids[3]}.jpg").unlink()
    prepared_survey.csv.unlink()
    (prepared_survey.root / "data" / "solutions_train.npy").unlink()
    rows = {row.what: row for row in status.look()}
    assert rows["training images"].state == "29, 1 missing"
    assert f"{prepared_survey.train_ids[3]}.jpg first" in rows["training images"].remedy
    assert rows["table of votes"].state == rows["labels"].state == "none"
    assert "training_solutions_rev1.zip" in rows["table of votes"].remedy
    assert "decision tree" not in rows


def test_bad_images_are_counted_only_when_images_are_checked(prepared_survey: Survey):
    image = prepared_survey.raw / "images_test_rev1" / f"{prepared_survey.test_ids[0]}.jpg"
    image.write_bytes(b"not an image")
    assert status.look()[1].state == "8"
    row = status.look(check_images=True, num_workers=1)[1]
    assert row.state == "1 bad" and image.name in row.remedy


def test_the_table_has_aligned_columns():
    rows = [Row("labels", "30 x 37", Path("a/b")), Row("training images", "30", "c")]
    assert status.describe(rows) == "labels           30 x 37  a/b\ntraining images  30       c"
