"""Processors on which 8-bit products saturate in 16 bits are detected."""

import numpy as np
import onnxruntime
import pytest

from machine import onnx_runtime


def test_saturation_is_detected_by_a_multiplication(monkeypatch: pytest.MonkeyPatch):
    onnx_runtime.is_exact.cache_clear()
    made_for_it = onnx_runtime.is_exact()
    with open("/proc/cpuinfo") as file:
        flags = set(next((line.split() for line in file if line.startswith("flags")), []))
    if flags & {"avx512_vnni", "avx_vnni", "amx_int8"}:
        assert made_for_it

    class Saturating:
        """As a processor without such instructions: pairs of products stop at 32,767."""

        def __init__(self, *_: object, **__: object):
            pass

        def run(self, _: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            a, b = (feeds[name].astype(np.int64) for name in "ab")
            pairs = (a[:, :, None] * b).reshape(len(a), -1, 2, b.shape[1]).sum(axis=2)
            return [np.minimum(pairs, 32767).sum(axis=1)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Saturating)
    onnx_runtime.is_exact.cache_clear()
    assert not onnx_runtime.is_exact()
    monkeypatch.undo()
    onnx_runtime.is_exact.cache_clear()
