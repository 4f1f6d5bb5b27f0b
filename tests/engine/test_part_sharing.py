"""Sixty transforms have the parts of fifteen: predictions from shared parts are those of every part by itself."""

import dataclasses

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, TINY

import cc_layers
import custom
import layers
import realtime_augmentation as ra
from engine.experiment import Experiment
from engine.network import Network
from engine.part_sharing import PartSharing
from try_convnet_cc_multirotflip_3x69r45_shareddense import EXPERIMENT as SHARED_DENSE

SIXTY = ra.sixty_transforms()
VIEW = ra.build_ds_transform(12.0, target_size=(15, 15))
# Unlike those of TINY, its views lie in the middle of the image.
TURNED = [VIEW, VIEW + ra.build_augmentation_transform(rotation=45)]
MIDDLE = dataclasses.replace(TINY, views=dataclasses.replace(TINY.views, ds_transforms=TURNED))


def build(experiment: Experiment) -> Network:
    torch.manual_seed(2)
    network = Network(experiment, CPU)
    layers.reset_variance_preserving(network.output_layer)
    return network


def views_of(images: np.ndarray, experiment: Experiment, transforms: list) -> list[np.ndarray]:
    recipe = experiment.views
    views = [
        ra.augment_fixed_and_dscrop(image, recipe.ds_transforms, transforms, recipe.target_sizes) for image in images
    ]
    return [np.stack([of_all[number] for each in views for of_all in each]) for number in range(len(recipe.shapes))]


IMAGES = np.random.default_rng(8).random((3, 424, 424, 3)).astype(np.float32)


@pytest.mark.parametrize("experiment", [MIDDLE, SHARED_DENSE], ids=lambda each: each.name)
def test_predictions_are_those_of_every_transform_by_itself(experiment: Experiment):
    network = build(experiment)
    sharing = PartSharing(network, experiment.views, SIXTY)
    images = IMAGES if experiment is MIDDLE else IMAGES[:1]
    expected = network.predict(views_of(images, experiment, SIXTY)).reshape(len(images), 60, 37)
    assert expected.std(axis=1).max() > 1e-3  # the transforms differ
    predictions = sharing.predict(views_of(images, experiment, sharing.representatives), images_a_batch=2)
    np.testing.assert_allclose(predictions, expected.mean(axis=1), rtol=0, atol=2e-6)


def test_a_fourth_of_the_transforms_has_all_the_parts():
    assert len(PartSharing(build(MIDDLE), MIDDLE.views, SIXTY).representatives) == 15


def test_transforms_that_have_nothing_in_common_all_stay():
    some = [ra.build_augmentation_transform(rotation=angle) for angle in (0, 10, 25)]
    network = build(MIDDLE)
    sharing = PartSharing(network, MIDDLE.views, some)
    assert sharing.representatives == some
    expected = network.predict(views_of(IMAGES[:1], MIDDLE, some)).mean(axis=0)
    np.testing.assert_allclose(sharing.predict(views_of(IMAGES[:1], MIDDLE, some), 1)[0], expected, atol=2e-6)


def build_without_parts(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    top = layers.DenseLayer(layers.ConcatenateLayer([layers.FlattenLayer(each) for each in inputs]), 37, 0.1, 0.1)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(top)


def build_with_crosstalk(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return a network that looks at a view beside its parts: these are not all there is to it."""
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    parts = layers.MultiRotSliceLayer(inputs[:1], part_size=9)
    conv = cc_layers.CudaConvnetConv2DLayer(cc_layers.ShuffleBC01ToC01BLayer(parts), 4, 4, 0.1, 0.1)
    merged = layers.MultiRotMergeLayer(cc_layers.ShuffleC01BToBC01Layer(conv), num_views=2)
    both = layers.ConcatenateLayer([merged, layers.FlattenLayer(inputs[1])])
    return inputs, custom.OptimisedDivGalaxyOutputLayer(layers.DenseLayer(both, 37, 0.1, 0.1))


@pytest.mark.parametrize("build_network", [build_without_parts, build_with_crosstalk])
def test_another_kind_of_network_sees_every_transform(build_network):
    experiment = dataclasses.replace(MIDDLE, build_network=build_network)
    network = build(experiment)
    sharing = PartSharing(network, experiment.views, SIXTY)
    assert sharing.representatives == SIXTY
    expected = network.predict(views_of(IMAGES[:1], experiment, SIXTY)).mean(axis=0)
    np.testing.assert_allclose(sharing.predict(views_of(IMAGES[:1], experiment, SIXTY), 1)[0], expected, atol=2e-6)


def test_another_family_sees_every_transform():
    network = build(OTHER)
    sharing = PartSharing(network, OTHER.views, OTHER.test_transforms)
    assert sharing.representatives == OTHER.test_transforms
    views = views_of(IMAGES[:2], OTHER, OTHER.test_transforms)
    expected = network.predict(views).reshape(2, 8, 37)
    assert expected.std(axis=1).max() > 1e-4  # the transforms differ
    np.testing.assert_allclose(sharing.predict(views, 1), expected.mean(axis=1), atol=2e-6)
