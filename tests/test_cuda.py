"""What is right or wrong on an accelerator: the checks of `benchmarks/gpu.py` but for those that measure times.

python -m pytest tests/test_cuda.py
"""

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_setting import Setting
from benchmarks.supervision import Outcome
from benchmarks.surveys import prepared

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")

MINUTES = 15


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Make all checks once, where one that hangs or dies costs the others nothing."""
    folder = tmp_path_factory.mktemp("cuda")
    with prepared(None, 480, 24) as simulated:
        setting = Setting(simulated.root, folder, device="cuda")
        return {each.check: each for each in gpu.run(gpu.PROOFS, setting, folder, MINUTES)}


@pytest.mark.parametrize("name", [check.name for check in gpu.PROOFS])
def test_is_right(outcomes: dict[str, Outcome], name: str):
    outcome = outcomes[name]
    wrong = [finding for finding in outcome.findings if finding.passed is False]
    assert (outcome.outcome, outcome.reason, wrong) == ("passed", "", [])
