"""The bits of `flag`, their names and their decoding."""

import numpy as np
import pytest

from catalogue import flags
from catalogue.flags import DEFINITIONS, FIELD_FLAGS, FLAGS, decode_flags


def test_each_bit_has_one_name_and_one_description():
    assert [each.bit for each in DEFINITIONS] == [2**n for n in range(9)]
    assert len({each.name for each in DEFINITIONS}) == len({each.description for each in DEFINITIONS}) == 9
    assert list(FLAGS) == [1, 2, 4, 8, 16, 32] and list(FIELD_FLAGS) == [64, 128, 256]


def test_descriptions_state_the_thresholds_of_the_code():
    assert f"{flags.MAX_ENLARGEMENT:g}" in FLAGS[flags.SMALL]
    assert f"{flags.COMPANION:.0%}" in FLAGS[flags.SEVERAL]
    assert f"{flags.SATURATED_FRACTION:.1%}" in FLAGS[flags.SATURATED]


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
        (511, ["small", "no object", "several", "border", "saturated", "far", "star", "tiny", "blended"]),
    ],
)
def test_a_sum_of_bits_is_decoded_to_names(value: int, names: list[str]):
    assert decode_flags(value) == names


@pytest.mark.parametrize("value", [-1, 512, 513, 2**40])
def test_a_value_with_other_bits_is_refused(value: int):
    with pytest.raises(ValueError, match=f"expected a sum of bits up to 511, got {value}; pass a value of the column"):
        decode_flags(value)
