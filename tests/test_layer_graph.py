import numpy as np
import pytest
import torch

import layer_graph
import layers


def build_network() -> layers.Layer:
    below = layers.Input2DLayer(2, 3, 4, 4)
    hidden = layers.DenseLayer(below, 6, 0.1, 0.0)
    return layers.DenseLayer(hidden, 5, 0.1, 0.0)


def test_a_shared_layer_is_computed_once_and_listed_once():
    below = layers.Input2DLayer(2, 3, 4, 4)
    shared = layers.DenseLayer(below, 4, 0.1, 0.0)
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    left, right = layers.DenseLayer(shared, 3, 0.1, 0.0), layers.DenseLayer(shared, 2, 0.1, 0.0)
    top = layers.ConcatenateLayer([left, right])
    assert top.output({below: torch.randn(2, 3, 4, 4)}).shape == (2, 5)
    assert len(calls) == 1
    assert layers.all_layers(top) == [top, left, shared, below, right]
    assert len(layers.all_parameters(top)) == 6
    assert layers.all_bias_parameters(top) == [left.b, shared.b, right.b]


def test_parameters_go_round_and_wrong_ones_change_nothing():
    network = build_network()
    other = build_network()
    values = layers.get_param_values(network)
    layers.set_param_values(other, values)
    for ours, theirs in zip(values, layers.get_param_values(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="another network's"):
        layers.set_param_values(other, [*values[:-1], np.zeros(3)])
    with pytest.raises(ValueError, match="another network's"):
        layers.set_param_values(other, values[:-1])
    np.testing.assert_array_equal(layers.get_param_values(other)[0], values[0])


def test_returned_values_are_copies():
    network = build_network()
    values = layers.get_param_values(network)
    values[0][:] = 7
    assert not (layers.get_param_values(network)[0] == 7).any()


def test_an_input_of_another_shape_or_none_is_named():
    below = layers.Input2DLayer(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"Input2DLayer \('batch', 3, 4, 4\): got a tensor of shape \(2, 3, 4, 5\)"):
        below.output({below: torch.zeros(2, 3, 4, 5)})
    with pytest.raises(ValueError, match="got none for Input2DLayer"):
        layers.FlattenLayer(below).output({})


def test_layers_offers_the_names_that_2014_documents():
    public = [name for name, value in vars(layer_graph).items() if getattr(value, "__module__", "") == "layer_graph"]
    assert {"Layer", "all_layers", "all_parameters", "all_bias_parameters", "get_param_values"} <= set(public)
    assert [name for name in public if name[0] != "_" and getattr(layers, name) is not getattr(layer_graph, name)] == []
