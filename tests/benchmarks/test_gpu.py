"""What proves and measures on an accelerator: nothing is lost where a check fails, hangs or dies; in small."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import standins
from standins import StandIn
from tiny import Survey

from benchmarks import gpu
from benchmarks.supervision import Check, Finding, at_most, brief, equal, measured, within
from machine.files import DataError
from survey import folders

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class TestFindings:
    @pytest.mark.parametrize(
        ("finding", "passed", "limit"),
        [
            (at_most("a", 1e-5, 1e-5), True, "<= 1e-05"),
            (at_most("a", 1.1e-5, 1e-5), False, "<= 1e-05"),
            (at_most("a", float("nan"), 1), False, "<= 1"),
            (within("a", 2, 1, 3), True, "1 to 3"),
            (within("a", 4, 1, 3), False, "1 to 3"),
            (within("a", float("nan"), 1, 3), False, "1 to 3"),
            (equal("a", "b", "b"), True, "= b"),
            (equal("a", 1, 0), False, "= 0"),
            (measured("a", 7), None, ""),
        ],
    )
    def test_keep_their_limit_or_do_not(self, finding: Finding, passed: bool | None, limit: str):
        assert (finding.passed, finding.limit) == (passed, limit)

    def test_are_written_in_few_characters(self):
        assert [brief(0.000123456), brief(True), brief("a\n b")] == ["0.0001235", "True", "a b"]
        assert brief("x" * 100) == "x" * 57 + "..."


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StandIn, int]:
    """Run checks that go wrong in every way, once."""
    folder = tmp_path_factory.mktemp("standins")
    setting = StandIn(folder)
    return folder, setting, gpu.exit_status(gpu.run(standins.CHECKS, setting, folder, minutes=5))


class TestTheSupervisor:
    def test_notes_how_each_check_ended_in_their_order(self, ended):
        folder, _, status = ended
        assert status == 1
        found = {line["check"]: line for line in lines_of(folder / "gpu.jsonl") if "outcome" in line}
        assert list(found) == [check.name for check in standins.CHECKS]
        assert {name: (line["outcome"], line["reason"]) for name, line in found.items()} == {
            "fine": ("passed", ""),
            "breaks": ("failed", "RuntimeError: a wire"),
            "times": ("measured", ""),
            "hangs": ("failed", "still running after 1 s; gpu.log says where"),
            "wrong": ("failed", "not within its limits"),
            "on CUDA": ("needs CUDA", ""),
            "dies": ("failed", "died with signal 9"),
            "leaves": ("failed", "ended with status 3"),
            "silent": ("failed", "found nothing"),
            "absent": ("no such script", ""),
            "remembers": ("passed", ""),
        }
        assert found["hangs"]["seconds"] >= 1

    def test_loses_nothing_that_was_found(self, ended):
        folder, setting, _ = ended
        findings = [line for line in lines_of(folder / "gpu.jsonl") if "what" in line]
        assert [(line["check"], line["what"]) for line in findings] == [
            ("fine", "small"), ("fine", "text"), ("breaks", "before it broke"), ("times", "ms"),
            ("hangs", "before it hung"), ("wrong", "too much"), ("wrong", "no number"), ("wrong", "same"),
            ("dies", "before it died"), ("leaves", "before it left"), ("remembers", "what another worker found"),
        ]  # fmt: skip
        assert findings[0] == {"check": "fine", "what": "small", "value": 1.0, "limit": "<= 2", "passed": True}
        assert findings[6] == {"check": "wrong", "what": "no number", "value": "nan", "limit": "<= 2", "passed": False}
        assert setting.known["leaves", "before it left"] == 1

    def test_goes_on_in_the_same_worker_until_something_breaks(self, ended):
        folder, _, _ = ended
        begun = (folder / "begun").read_text().split()
        # `on CUDA` does not begin; after `breaks`, `hangs`, `dies` and `leaves` there is a new worker.
        workers = [begun[:2], begun[2:4], begun[4:6], begun[6:7], begun[7:]]
        assert [len(set(each)) for each in workers] == [1] * 5
        assert len(set(begun)) == 5

    @needs_linux
    def test_leaves_no_process_behind(self, ended):
        folder, _, _ = ended
        processes = [(folder / "started").read_text(), *(folder / "begun").read_text().split()]
        deadline = time.monotonic() + 10
        while any(is_alive(int(each)) for each in processes):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def test_has_where_a_check_hung_and_broke_in_the_log(self, ended):
        folder, _, _ = ended
        log = (folder / "gpu.log").read_text()
        assert "Timeout" in log and "in hangs" in log
        assert "in breaks" in log and "a fuse" in log

    def test_writes_tables(self, ended):
        folder, _, _ = ended
        text = (folder / "gpu.md").read_text()
        assert "| hangs     |" in text.split("\n\n")[0]
        assert "| fine: text" in text and "a / b" in text
        assert text.count("FAILED") == 2

    def test_is_content_where_none_failed(self, tmp_path: Path, capsys: pytest.CaptureFixture):
        some = [check for check in standins.CHECKS if check.name in ("fine", "times", "on CUDA", "absent")]
        assert gpu.exit_status(gpu.run(some, StandIn(tmp_path), tmp_path, minutes=5)) == 0
        assert gpu.exit_status(gpu.run(some[2:3], StandIn(tmp_path, has_cuda=True), tmp_path, minutes=5)) == 0
        assert "on CUDA       passed" in capsys.readouterr().out

    def test_notes_what_was_left_for_want_of_time(self, tmp_path: Path):
        checks = [Check("fine", 60, standins.fine), Check("hangs", 60, standins.hangs), *standins.CHECKS[:2]]
        assert gpu.exit_status(gpu.run(checks, StandIn(tmp_path), tmp_path, minutes=6 / 60)) == 1
        found = [line for line in lines_of(tmp_path / "gpu.jsonl") if "outcome" in line]
        assert [line["outcome"] for line in found[1:]] == ["not run"] * 3
        assert found[3]["reason"] == "out of time"
        assert found[1]["reason"].startswith("out of time")

    def test_ends_its_worker_when_it_is_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(gpu.Supervisor, "_take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gpu.run([Check("hangs", 60, standins.hangs)], StandIn(tmp_path), tmp_path, minutes=5)
        assert (tmp_path / "gpu.md").exists()
        begun = tmp_path / "begun"
        # Where the worker was ended before it had written its number, it is not there or empty.
        number = begun.read_text() if begun.exists() else ""
        assert not number or not is_alive(int(number))

    def test_notes_that_no_worker_can_begin(self, tmp_path: Path):
        ended = gpu.run(standins.CHECKS[:2], StandIn(tmp_path, is_broken=True), tmp_path, minutes=5)
        assert gpu.exit_status(ended) == 1
        found = lines_of(tmp_path / "gpu.jsonl")
        assert [line["reason"] for line in found] == ["ended with status 1 before it began; gpu.log says why"] * 2
        assert "no such device" in (tmp_path / "gpu.log").read_text()


def test_all_of_it_runs_in_small(
    run_main: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what waits for what on a busy machine takes longer than the work
    with pytest.raises(SystemExit) as ended:
        run_main(gpu, "--quick", "--device", "cpu", "--output", tmp_path)
    found = {line["check"]: line for line in lines_of(tmp_path / "gpu.jsonl") if "outcome" in line}
    need_cuda = {"precision", "graphs", "rules", "captures"}
    measures = {"bandwidth", "step", "chunks", "prediction", "finetuning", "settings", "kernels"}
    expected = {
        check.name: "needs CUDA" if check.name in need_cuda else "measured" if check.name in measures else "passed"
        for check in gpu.CHECKS
    }
    assert {name: line["outcome"] for name, line in found.items()} == expected
    assert ended.value.code == 0
    values = {line["what"]: line["value"] for line in lines_of(tmp_path / "gpu.jsonl") if "what" in line}
    last = "RMSE of the last chunk,"
    assert values[f"{last} float32 from tf32"] == values[f"{last} the CPU from tf32"] == 0  # on a CPU they are one
    assert values[f"{last} workers' examples from tf32"] <= 1e-3 * values[f"{last} tf32"]
    assert values[f"{last} bf16 from tf32"] <= 0.02 * values[f"{last} tf32"]
    assert {
        "goes on after SIGTERM",
        "goes on after SIGKILL",
        "ms of forward",
        "ms of optimizer",
        "minutes of the recipe (67 hours in 2014)",
        "minutes for 79,975, whole",
        "minutes for 61,578 x 30 epochs, tf32",
        "operators that compute",
    } <= set(values)
    assert f"wrote {tmp_path / 'gpu.md'}" in capsys.readouterr().out


def test_some_checks_can_be_chosen(
    prepared_survey: Survey, run_main: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gpu, "prepared", lambda *_: contextlib.nullcontext(folders.current))
    with pytest.raises(SystemExit) as ended:
        run_main(gpu, "--quick", "--device", "cpu", "--output", tmp_path, "--only", "precision", "indices")
    assert ended.value.code == 0
    assert [line["check"] for line in lines_of(tmp_path / "gpu.jsonl") if "outcome" in line] == ["precision", "indices"]


def test_a_cpu_is_refused_but_in_small(run_main: Callable[..., None], tmp_path: Path):
    with pytest.raises(DataError, match="expected an accelerator"):
        run_main(gpu, "--device", "cpu", "--output", tmp_path)
    assert not list(tmp_path.iterdir())


def test_checks_have_names_of_their_own_and_fit_their_time():
    names = [check.name for check in gpu.CHECKS]
    assert len(set(names)) == len(names)
    assert all(0 < check.seconds <= 180 for check in gpu.CHECKS)
