"""A student learns beside the same network without teachers, and both are scored on the validation galaxies."""

import json

import pytest

from benchmarks import students


def test_a_student_and_its_teachers_are_scored_once(prepared_survey, run_main, monkeypatch, capsys):
    for name, value in (("NUM_FOLDS", 2), ("CHUNK_SIZE", 32)):
        monkeypatch.setattr(students, name, value)
    root = prepared_survey.root
    flags = [root, "--seeds", 1, "--teachers", 32, "--examples", 32, "--numbers", "0.5,1,0"]
    run_main(students, *flags)
    results = json.loads((root / "students_1" / "folds" / "students.json").read_text())
    student = "label_weight 0.5, unlabelled 1, consistency 0"
    assert [each["run"] for each in results] == [students.ALONE, "teachers", student]
    assert all(0 < each["one"] < 1 and 0 < each["eight"] < 1 for each in results)
    assert results[1]["all"] <= results[1]["eight"] + 1e-9  # the error of a mean is at most the mean error
    for name in ("learn", "teach"):
        monkeypatch.setattr(students, name, pytest.fail)
    capsys.readouterr()
    run_main(students, *flags)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"| {student}")
    with pytest.raises(SystemExit):
        run_main(students, root, "--seeds", 1, "--numbers", "0.5,1")
