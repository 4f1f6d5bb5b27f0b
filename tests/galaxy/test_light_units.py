"""Light in units of its noise: exact division by a power of two, the same in any unit and number format."""

import numpy as np
import pytest

from galaxy.light_units import exponent_of, scaled

NOISE = np.random.default_rng(3).normal(0, 1, (64, 64))


@pytest.mark.parametrize("exponent", [-110, -66, 0, 66, 110])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_scaled_light_does_not_depend_on_the_unit(exponent: int, dtype: str):
    light = np.ldexp(NOISE.astype(np.float32), exponent).astype(dtype)
    assert exponent_of(light) == exponent_of(NOISE) + exponent
    np.testing.assert_array_equal(scaled(light, exponent), NOISE.astype(np.float32))


def test_the_noise_of_scaled_light_is_about_one():
    light = NOISE * 7.3e-21
    assert 0.3 < np.median(np.abs(scaled(light, exponent_of(light)))) < 2


def test_whole_numbers_are_divided_in_double_precision():
    np.testing.assert_array_equal(scaled(np.array([3, -5], np.int16), 1), [1.5, -2.5])


@pytest.mark.parametrize("light", [np.full((4, 4), np.nan), np.zeros((4, 4))])
def test_light_without_a_value_keeps_its_unit(light: np.ndarray):
    assert exponent_of(light) == 0
