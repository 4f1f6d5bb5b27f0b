"""Fixtures of the tests of benchmarks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import Survey

from benchmarks.gpu_setting import Setting


@pytest.fixture
def setting(prepared_survey: Survey, tmp_path: Path) -> Iterator[Setting]:
    """Return what the checks of `gpu.py` are given in small, and undo what they set."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision, matmul.fp32_precision
    random = torch.get_rng_state()
    yield Setting(prepared_survey.root, tmp_path, device="cpu", quick=True)
    cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision, matmul.fp32_precision = before
    torch.set_rng_state(random)
