"""What holds for transforms of any size, angle and place; the reference's are in test_realtime_augmentation.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxy import affine

quickly = settings(max_examples=100, deadline=None, derandomize=True)
zooms = st.floats(0.5, 2)
angles = st.floats(-720, 720)
shifts = st.tuples(st.floats(-20, 20), st.floats(-20, 20))
CENTRE = np.array([[211.5, 211.5]])


@quickly
@given(zooms, angles, st.booleans(), shifts)
def test_a_perturbation_and_its_inverse_do_nothing(zoom, rotation, flip, shift):
    there = affine.build_flip_transform(zoom, rotation, flip) + affine.AffineTransform(translation=shift)
    np.testing.assert_allclose((there + there.inverse).params, np.eye(3), atol=1e-9)
    points = np.random.default_rng(0).uniform(0, 424, (9, 2))
    np.testing.assert_allclose(there.inverse(there(points)), points, atol=1e-8)


@quickly
@given(zooms, angles, zooms, angles)
def test_perturbations_compose_by_product_and_sum(zoom, rotation, other_zoom, other_rotation):
    composed = affine.build_augmentation_transform(zoom, rotation)
    composed = composed + affine.build_augmentation_transform(other_zoom, other_rotation)
    expected = affine.build_augmentation_transform(zoom * other_zoom, rotation + other_rotation)
    np.testing.assert_allclose(composed.params, expected.params, atol=1e-8)


@quickly
@given(angles)
def test_a_mirror_undoes_itself(rotation):
    mirror = affine.build_flip_transform(1, rotation, flip=True)
    assert np.linalg.det(mirror.params) == pytest.approx(-1)
    np.testing.assert_allclose((mirror + mirror).params, np.eye(3), atol=1e-8)


@quickly
@given(zooms, angles, shifts)
def test_translation_moves_the_centre_and_nothing_else_does(zoom, rotation, shift):
    tform = affine.build_augmentation_transform(zoom, rotation, translation=shift)
    np.testing.assert_allclose(tform(CENTRE) - CENTRE, [shift], atol=1e-9)


@quickly
@given(st.lists(st.tuples(zooms, angles, angles, shifts), min_size=1, max_size=5))
def test_many_matrices_are_single_ones(perturbations):
    matrices = affine.augmentation_matrices(*zip(*perturbations, strict=True))
    assert matrices.shape == (len(perturbations), 3, 3)
    for matrix, single in zip(matrices, perturbations, strict=True):
        np.testing.assert_allclose(matrix, affine.build_augmentation_transform(*single).params, atol=1e-12)


@quickly
@given(
    st.floats(1, 6),
    st.tuples(st.integers(1, 424), st.integers(1, 424)),
    st.tuples(st.integers(1, 99), st.integers(1, 99)),
)
def test_a_crop_keeps_the_middle_in_the_middle(factor, original, target):
    tform = affine.build_ds_transform(factor, original, target)
    middle_of_target, middle_of_original = (np.array([size[::-1]]) / 2 - 0.5 for size in (target, original))
    np.testing.assert_allclose(tform(middle_of_target), middle_of_original, atol=1e-9)
    np.testing.assert_allclose(tform([[1, 1]]) - tform([[0, 0]]), [[factor, factor]], atol=1e-9)


@quickly
@given(st.floats(1, 2), st.floats(0, 180), st.floats(0, 10), st.booleans(), st.integers(0, 2**32))
def test_drawn_perturbations_stay_in_their_ranges(zoom, rotation, shift, flip, seed):
    ranges = (1 / zoom, zoom), (-rotation, rotation), (0, 0), (-shift, shift)
    matrices = affine.random_perturbations(50, *ranges, do_flip=flip, rng=np.random.default_rng(seed))
    areas = np.linalg.det(matrices)
    assert flip or (areas > 0).all()
    scales = np.sqrt(np.abs(areas))
    assert scales.min() >= 1 / zoom - 1e-9 and scales.max() <= zoom + 1e-9
    moved = (matrices @ [211.5, 211.5, 1])[:, :2] - 211.5
    assert np.abs(moved).max() <= shift + 1e-9


def test_the_sixty_transforms_are_sixty():
    matrices = np.stack([tform.params for tform in affine.sixty_transforms()]).reshape(60, 9)
    distances = np.abs(matrices[:, None] - matrices).max(axis=2)
    assert (distances + np.eye(60) > 1e-3).all()
