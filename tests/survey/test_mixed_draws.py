"""Chunks of labelled and unlabelled images: their pattern, their images, their two views."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY

from survey.mixed_draws import MixedViews, pattern
from survey.views import Views


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))
def test_each_stretch_has_its_share(chunk_size: int, ratio: float):
    unlabelled = pattern(chunk_size, ratio)
    assert unlabelled.shape == (chunk_size,)
    for start in range(0, chunk_size, 32):
        stretch = unlabelled[start : start + 32]
        assert abs(stretch.sum() - len(stretch) * ratio / (1 + ratio)) <= 1


def mixed(num_draws: int = 1, unlabelled: np.ndarray | None = None, views: Views = TINY.views) -> MixedViews:
    return MixedViews(views, np.arange(8) if unlabelled is None else unlabelled, 1.0, num_draws)


def test_a_draw_depends_on_its_chunk_alone_and_slices_as_a_plan():
    one, same, other = (mixed().draw(np.arange(27), 24, 5, chunk, 9) for chunk in (2, 2, 3))
    np.testing.assert_array_equal(one.indices, same.indices)
    assert not np.array_equal(one.indices, other.indices)
    assert set(one.indices[one.unlabelled]) <= set(range(8)) and one.unlabelled.sum() == 12
    piece = one[5:9]
    assert len(piece) == 4
    np.testing.assert_array_equal(piece.draws[0].perturbations, one.draws[0].perturbations[5:9])


def test_without_unlabelled_images_it_is_the_draw_of_the_views():
    draw = mixed(unlabelled=np.empty(0, int)).draw(np.arange(27), 24, 5, 2, 9)
    np.testing.assert_array_equal(draw.indices, TINY.views.draw(np.arange(27), 24, 5, 2).indices)
    assert not draw.unlabelled.any()


@pytest.mark.parametrize("num_draws", [1, 2])
def test_views_are_those_of_each_subset(prepared_survey, num_draws: int):
    views = mixed(num_draws)
    draw = views.draw(np.arange(27), 6, 5, 0, 9)
    outs = [np.empty((6, *shape), np.float32) for shape in views.shapes]
    assert len(outs) == 2 * num_draws
    views.write_drawn(outs, draw)
    for n, each in enumerate(draw.draws):
        for row in range(6):
            alone = [np.empty((1, *shape), np.float32) for shape in TINY.views.shapes]
            subset = "test" if draw.unlabelled[row] else "train"
            TINY.views.write(alone, each.indices[row : row + 1], subset, each.perturbations[row : row + 1])
            TINY.views.add_noise(alone, each[row : row + 1])
            for ours, theirs in zip(outs[2 * n : 2 * n + 2], alone, strict=True):
                np.testing.assert_array_equal(ours[row], theirs[0])
    if num_draws == 2:
        assert not np.array_equal(outs[0], outs[2])
