"""The bits of `flag`, their names and their decoding."""

import numpy as np
import pytest

from catalogue import flags
from catalogue.flags import DEFINITIONS, FIELD_FLAGS, FLAGS, decode_flags


def test_each_bit_has_one_name_and_one_description():
    assert [each.bit for each in DEFINITIONS] == [2**n for n in range(11)]
    assert len({each.name for each in DEFINITIONS}) == len({each.description for each in DEFINITIONS}) == 11
    assert list(FLAGS) == [1, 2, 4, 8, 16, 32, 64, 512] and list(FIELD_FLAGS) == [128, 256, 1024]


def test_descriptions_state_the_thresholds_of_the_code():
    assert f"{flags.MAX_ENLARGEMENT:g}" in FLAGS[flags.SMALL]
    assert f"{flags.COMPANION:.0%}" in FLAGS[flags.SEVERAL]
    assert f"{flags.SATURATED_FRACTION:.1%}" in FLAGS[flags.SATURATED]
    assert f"{flags.LEAST_SIGNAL:g}" in FIELD_FLAGS[flags.FAINT]
    for answer, (low, high) in flags.AXIS_RATIOS.items():
        limit = f"{answer} below {low:g}" if low else f"{answer} above {high:g}"
        assert limit in FLAGS[flags.SHAPE]


def test_rows_that_are_cut_far_stars_faint_or_of_another_shape_are_not_trusted():
    assert flags.are_trusted(np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 33, 1024])).tolist() == [
        True, True, True, True, False, True, False, False, True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "axis_ratio", "expected"),
    [
        ("features or disk, edge-on", 0.61, True),
        ("features or disk, edge-on", 0.6, False),
        ("features or disk, not edge-on", 0.9, False),
        ("smooth, completely round", 0.64, True),
        ("smooth, completely round", 0.9, False),
        ("smooth, cigar-shaped", 0.66, True),
        ("smooth, in between", 0.1, False),
        ("smooth, completely round", np.nan, False),
        ("", 0.1, False),
    ],
)
def test_a_measured_axis_ratio_contradicts_edge_on_cigar_and_round(path: str, axis_ratio: float, expected: bool):
    assert flags.contradicts(path, axis_ratio) == expected


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (0, []),
        (1, ["small"]),
        (2, ["no object"]),
        (34, ["no object", "far"]),
        (9, ["small", "border"]),
        (64, ["star"]),
        (np.int32(128 + 256 + 4), ["several", "tiny", "blended"]),
        (1023, ["small", "no object", "several", "border", "saturated", "far", "star", "tiny", "blended", "shape"]),
        (1024 + 1, ["small", "faint"]),
    ],
)
def test_a_sum_of_bits_is_decoded_to_names(value: int, names: list[str]):
    assert decode_flags(value) == names


@pytest.mark.parametrize("value", [-1, 2048, 2049, 2**40])
def test_a_value_with_other_bits_is_refused(value: int):
    with pytest.raises(ValueError, match=f"expected a sum of bits up to 2047, got {value}; pass a value of the column"):
        decode_flags(value)
