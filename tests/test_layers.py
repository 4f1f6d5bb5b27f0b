import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import cc_layers
import custom
import layers

REFERENCE = Path(__file__).parent / "reference"


def build_narrow_network(batch_size: int = 2) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the narrow copy of the best network that the reference arrays were computed with."""
    inputs = [layers.Input2DLayer(batch_size, 3, 69, 69) for _ in range(2)]
    x = cc_layers.ShuffleBC01ToC01BLayer(layers.MultiRotSliceLayer(inputs, part_size=45, include_flip=True))
    for n_filters, filter_size, pooled in ((8, 6, True), (8, 5, True), (12, 3, False), (16, 3, True)):
        x = cc_layers.CudaConvnetConv2DLayer(x, n_filters, filter_size, 0.01, 0.1, untie_biases=True)
        if pooled:
            x = cc_layers.CudaConvnetPooling2DLayer(x, pool_size=2)
    x = layers.MultiRotMergeLayer(cc_layers.ShuffleC01BToBC01Layer(x), num_views=4)
    for _ in range(2):
        x = layers.DenseLayer(x, 20, 0.001, 0.01, nonlinearity=layers.identity)
        x = layers.FeatureMaxPoolingLayer(x, pool_size=2)
    x = layers.DenseLayer(x, 37, 0.01, 0.1, nonlinearity=layers.identity)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(x)


@pytest.fixture(scope="module")
def training():
    with np.load(REFERENCE / "network_training.npz") as arrays:
        return dict(arrays)


class TestReferenceTraining:
    def test_six_steps_give_the_reference_s_parameters_and_errors(self, training):
        inputs, output = build_narrow_network()
        count = len(layers.all_parameters(output))
        assert count == 14
        layers.set_param_values(output, [training[f"param{i:02d}_initial"] for i in range(count)])
        views = [torch.from_numpy(training[k].astype(np.float32) / 255) for k in ("view0_uint8", "view45_uint8")]
        targets = torch.from_numpy(training["targets"])

        def batch(step: int) -> dict:
            return {layer: view[step] for layer, view in zip(inputs, views, strict=True)}

        with torch.no_grad():
            before = output.predictions(batch(0), dropout_active=False)
            raw = output.predictions_no_normalisation(batch(0), dropout_active=False)
        np.testing.assert_allclose(before, training["predictions_before"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(raw, training["predictions_no_normalisation_before"], rtol=0, atol=1e-5)

        for step, rate in enumerate(training["learning_rates"]):
            if step in (0, 3):  # 2014's functions with and without normalisation had a momentum each
                optimizer = layers.gen_updates_nesterov_momentum_no_bias_decay(
                    layers.all_parameters(output),
                    layers.all_bias_parameters(output),
                    learning_rate=float(rate),
                    momentum=float(training["momentum"]),
                    weight_decay=float(training["weight_decay"]),
                )
            optimizer.zero_grad()
            error = output.error(batch(step), targets[step], normalisation=step >= 3)
            error.backward()
            optimizer.step()
            assert error.item() == pytest.approx(training["errors"][step], rel=1e-4)
            if step in (2, 5):
                for i, values in enumerate(layers.get_param_values(output)):
                    expected = training[f"param{i:02d}_after_{step + 1}"]
                    # relative to how far the parameters moved, which is much less than their size
                    moved = np.abs(expected - training[f"param{i:02d}_initial"]).max()
                    assert np.abs(values - expected).max() < 1e-3 * moved
                    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            after = output.predictions(batch(0), dropout_active=False)
        np.testing.assert_allclose(after, training["predictions_after"], rtol=0, atol=1e-5)


class TestSlicingAndMerging:
    def test_parts_and_their_merger_are_the_reference(self):
        with np.load(REFERENCE / "multirot.npz") as arrays:
            views = [torch.from_numpy(arrays[k].astype(np.float32)) for k in ("view0", "view45")]
            part_size, expected, merged = int(arrays["part_size"]), arrays["slices"], arrays["merged"]
            stride, merged_shape = int(arrays["merged_stride"]), tuple(arrays["merged_shape"])
        inputs = [layers.Input2DLayer(2, 3, 69, 69) for _ in range(2)]
        parts = layers.MultiRotSliceLayer(inputs, part_size=part_size, include_flip=True)
        merge = layers.MultiRotMergeLayer(parts, num_views=4)
        given = dict(zip(inputs, views, strict=True))
        np.testing.assert_array_equal(parts.output(given), expected)
        np.testing.assert_array_equal(merge.output(given)[:, ::stride], merged)
        assert parts.get_output_shape() == (32, 3, 45, 45)
        assert merge.get_output_shape() == merge.output(given).shape == merged_shape

    def test_without_flip_there_are_four_parts_a_view(self):
        view = layers.Input2DLayer(2, 1, 5, 5)
        parts = layers.MultiRotSliceLayer([view], part_size=3, include_flip=False)
        x = torch.arange(50.0).reshape(2, 1, 5, 5)
        output = parts.output({view: x})
        assert output.shape == parts.get_output_shape() == (8, 1, 3, 3)
        for turns in range(4):
            expected = np.rot90(x.numpy(), turns, axes=(2, 3))[:, :, :3, :3]
            np.testing.assert_array_equal(output[2 * turns : 2 * turns + 2], expected)


class TestDense:
    def build(self, **options: object) -> tuple[layers.Layer, layers.DenseLayer]:
        torch.manual_seed(0)
        below = layers.Input2DLayer(4, 2, 3, 5)
        return below, layers.DenseLayer(below, 7, weights_std=0.3, init_bias_value=0.1, **options)

    def test_is_a_matrix_product(self):
        below, dense = self.build()
        x = torch.randn(4, 2, 3, 5)
        w, b = layers.get_param_values(dense)
        expected = np.maximum(x.numpy().reshape(4, 30) @ w + b, 0)
        np.testing.assert_allclose(dense.output({below: x}).detach(), expected, rtol=1e-5, atol=1e-6)
        assert dense.get_output_shape() == (4, 7)
        assert dense.mb_size == 4

    def test_takes_any_batch(self):
        below, dense = self.build()
        assert dense.output({below: torch.randn(9, 2, 3, 5)}).shape == (9, 7)

    def test_dropout_sits_on_the_input_and_rescales(self):
        below, dense = self.build(dropout=0.5, nonlinearity=layers.identity)
        with torch.no_grad():
            dense.W.fill_(1.0)
            dense.b.zero_()
            x = torch.ones(2000, 2, 3, 5)
            assert torch.equal(dense.output({below: x}, dropout_active=False), torch.full((2000, 7), 30.0))
            dropped = dense.output({below: x})
        assert torch.equal(dropped, dropped[:, :1].expand(-1, 7))  # the same inputs are missing to all outputs
        assert set(dropped.unique().tolist()) <= set(range(0, 61, 2))
        assert dropped.mean().item() == pytest.approx(30, rel=0.02)

    def test_rescaled_weights_limit_the_l2_norm_of_columns(self):
        _, dense = self.build()
        norms = dense.W.norm(dim=0)
        limit = norms.median().item()
        [(parameter, value)] = dense.rescaling_updates(limit)
        assert parameter is dense.W
        np.testing.assert_allclose(value.norm(dim=0).detach(), norms.detach().clamp(max=limit), rtol=1e-5)
        untouched = norms <= limit
        assert torch.equal(value[:, untouched], dense.W[:, untouched])

    def test_a_column_of_zeros_stays_zero(self):
        _, dense = self.build()
        with torch.no_grad():
            dense.W[:, 0] = 0
        assert torch.equal(dense.rescaled_weights(0.1)[:, 0], torch.zeros(30))


class TestSmallLayers:
    def test_maxout_pools_adjacent_features(self):
        below = layers.Input2DLayer(2, 6, 1, 1)
        x = torch.randn(2, 6, 1, 1)
        flat = layers.FlattenLayer(below)
        pooled = layers.FeatureMaxPoolingLayer(flat, pool_size=3)
        expected = [[max(row[:3]), max(row[3:])] for row in x.reshape(2, 6).tolist()]
        np.testing.assert_allclose(pooled.output({below: x}), expected)
        assert pooled.get_output_shape() == (2, 2)
        assert flat.get_output_shape() == (2, 6)

    def test_maxout_refuses_a_pool_that_does_not_divide(self):
        with pytest.raises(ValueError, match="multiple of pool_size 4 as features, got 6"):
            layers.FeatureMaxPoolingLayer(layers.Input2DLayer(2, 6, 1, 1), pool_size=4)

    def test_concatenation_joins_features(self):
        a, b = layers.Input2DLayer(2, 3, 4, 4), layers.Input2DLayer(2, 5, 4, 4)
        both = layers.ConcatenateLayer([a, b])
        x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
        np.testing.assert_array_equal(both.output({a: x, b: y}), np.concatenate([x, y], axis=1))
        assert both.get_output_shape() == (2, 8, 4, 4)


def build_module_layer(**options: object) -> tuple[layers.Layer, layers.ModuleLayer]:
    torch.manual_seed(0)
    below = layers.Input2DLayer(4, 3, 6, 6)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.Dropout(0.5))
    return below, layers.ModuleLayer(below, module, (4, 5, 4, 4), **options)


class TestModules:
    def test_are_layers_in_training_and_in_evaluation_mode(self):
        below, layer = build_module_layer()
        assert layer.get_output_shape() == (4, 5, 4, 4)
        x = torch.randn(9, 3, 6, 6)
        evaluated = layer.output({below: x}, dropout_active=False)
        np.testing.assert_array_equal(evaluated.detach(), layer.module.eval()(x).detach())
        assert not (evaluated == 0).any()
        trained = layer.output({below: x})
        assert 0.3 < (trained == 0).float().mean() < 0.7  # the module's own dropout
        assert trained.shape == (9, 5, 4, 4)

    def test_parameters_are_the_module_s_and_vectors_count_as_biases(self):
        _, layer = build_module_layer()
        convolution, norm, _ = layer.module
        top = layers.DenseLayer(layer, 2, 0.1, 0.0)
        below = [convolution.weight, convolution.bias, norm.weight, norm.bias]
        assert all(a is b for a, b in zip(layers.all_parameters(top), [top.W, top.b, *below], strict=True))
        assert layers.all_bias_parameters(top) == [top.b, *below[1:]]
        statistics = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
        assert all(a is b for a, b in zip(layers.all_state(top), statistics, strict=True))

    def test_training_changes_the_statistics_and_evaluation_does_not(self):
        below, layer = build_module_layer()
        x = torch.randn(9, 3, 6, 6)
        before = [each.clone() for each in layer.state]
        layer.output({below: x}, dropout_active=False)
        assert all(map(torch.equal, layer.state, before))
        layer.output({below: x})
        assert not any(map(torch.equal, layer.state, before))
        after = [each.clone() for each in layer.state]
        layer.output({below: x}, dropout_active=False)
        assert all(map(torch.equal, layer.state, after))

    def test_buffers_that_are_not_kept_are_no_state(self):
        class Scaled(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("table", torch.ones(2), persistent=False)
                self.register_buffer("seen", torch.zeros(()))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x * self.table[0]

        below = layers.Input2DLayer(2, 3, 4, 4)
        layer = layers.ModuleLayer(below, Scaled(), (2, 3, 4, 4))
        assert [each.shape for each in layers.all_state(layer)] == [()]

    def test_statistics_go_round_with_the_parameters(self):
        below, layer = build_module_layer()
        layer.output({below: torch.randn(9, 3, 6, 6)})
        values = layers.get_param_values(layer)
        assert [value.shape for value in values] == [(5, 3, 3, 3), (5,), (5,), (5,), (5,), (5,), ()]
        _, other = build_module_layer()
        layers.set_param_values(other, values)
        x = torch.randn(2, 3, 6, 6)
        np.testing.assert_array_equal(layer(x).detach(), other(x).detach())
        assert other.module[1].num_batches_tracked == 1
        with pytest.raises(ValueError, match="another network's"):
            layers.set_param_values(other, values[:4])  # without the statistics

    @pytest.mark.parametrize("reset", [layers.reset_all_params, layers.reset_variance_preserving])
    def test_resets_draw_as_the_parts_do_and_then_load_what_is_published(self, reset):
        below, layer = build_module_layer()
        layer.output({below: torch.randn(9, 3, 6, 6)})
        convolution, norm, _ = layer.module
        before = convolution.weight.detach().clone()
        reset(layer)
        assert not torch.equal(convolution.weight, before)
        assert norm.num_batches_tracked == 0
        assert (norm.running_var == 1).all()

        calls = []

        def load(module: torch.nn.Module) -> None:
            calls.append(module)
            with torch.no_grad():
                module[0].weight.fill_(0.5)

        _, published = build_module_layer(load=load)
        assert not calls  # to build a network reads nothing
        reset(published)
        assert calls == [published.module]
        assert (published.module[0].weight == 0.5).all()


def test_resets_draw_what_the_scripts_say():
    below = layers.Input2DLayer(2, 50, 4, 4)
    dense = layers.DenseLayer(below, 400, weights_std=0.02, init_bias_value=0.3)
    before = dense.W.detach().clone()
    layers.reset_all_params(dense)
    assert not torch.equal(dense.W, before)
    assert dense.W.std().item() == pytest.approx(0.02, rel=0.02)
    assert (dense.b == 0.3).all()


def test_variance_preserving_weights_let_the_input_reach_the_output():
    inputs, output = build_narrow_network()
    views = {layer: torch.rand(2, 3, 69, 69) for layer in inputs}
    top = output.input_layer

    def spread(reset) -> float:
        torch.manual_seed(0)
        reset(output)
        with torch.no_grad():
            first, second = top.output(views, dropout_active=False)
        return (first - second).abs().mean().item()

    assert spread(layers.reset_variance_preserving) > 100 * spread(layers.reset_all_params)
    layers.reset_variance_preserving(output)
    convolution = next(each for each in layers.all_layers(output) if isinstance(each, cc_layers.CudaConvnetConv2DLayer))
    assert convolution.W.std().item() == pytest.approx((2 / convolution.fan_in) ** 0.5, rel=0.1)
    assert (convolution.b == 0).all()
    assert top.W.std().item() == pytest.approx(0.01, rel=0.2)
    assert (top.b == 0.1).all()


def test_no_warning_and_no_grad_flag_is_left_behind():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, output = build_narrow_network()
        layers.reset_variance_preserving(output)
    assert all(param.requires_grad and param.is_leaf for param in layers.all_parameters(output))
