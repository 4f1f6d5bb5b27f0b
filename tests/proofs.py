"""What the tests of the checks of `benchmarks/gpu.py` share."""

from collections.abc import Iterator

from benchmarks.supervision import Finding


def failed(findings: Iterator[Finding]) -> set[str]:
    """Return what fails of what a check finds, of which something is right or wrong."""
    found = list(findings)
    assert any(each.passed is not None for each in found)
    return {each.what for each in found if each.passed is False}
