"""Fixtures of the tests of an accelerator, and the table of what they measured.

`make test-cuda` runs them where there is CUDA. Without it, the same comparisons run in small on the CPU.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cuda_setting import Note, Setting
from tiny import Survey

from benchmarks import measuring
from engine.network import use_precision

HAS_CUDA = torch.cuda.is_available()
CUDA = pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")])


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Return each device in turn."""
    return torch.device(request.param)


@pytest.fixture
def setting(device: torch.device, prepared_survey: Survey, tmp_path: Path) -> Iterator[Setting]:
    """Return what the tests start from; afterwards, restore the precision, cuDNN's choices and the generator."""
    cudnn, matmul, state = torch.backends.cudnn, torch.backends.cuda.matmul, torch.get_rng_state()
    before = cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision, matmul.fp32_precision
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)  # on a busy machine, threads wait for each other longer than the work takes
    use_precision("tf32")
    (tmp_path / "results").mkdir()
    yield Setting(device, prepared_survey.root, tmp_path / "results")
    cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision, matmul.fp32_precision = before
    torch.set_rng_state(state)
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.empty_cache()


@pytest.fixture
def note(record_property: Note) -> Note:
    """Return a function that notes a measured value: in the JUnit XML, and in the table."""
    return record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print a table of all tests with their measured values, and write it beside the JUnit XML."""
    if not (path := config.option.xmlpath):
        return
    rows = [
        (report.nodeid.partition("::")[2], outcome, f"{report.duration:.1f}", _text(report.user_properties))
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    text = measuring.table(("test", "outcome", "seconds", "measured"), rows)
    Path(path).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")
    terminalreporter.write_line(f"\n{text}")


def _text(properties: list[tuple[str, object]]) -> str:
    return "; ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in properties
    ).replace("|", "/")
