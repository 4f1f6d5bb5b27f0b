"""What an experiment declares: nothing by default, rates that are never zero, limits that hold."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, run

import layers
from engine.experiment import Cosine, Experiment, NormConstraint, Steps
from galaxy.decision_tree import CLASSES
from machine.files import DataError
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST
from try_finetune_efficientnet_lite1 import EXPERIMENT as LITE1

TWO = CLASSES(["a", "b"])


class TestExperiment:
    def test_a_forgotten_number_is_a_type_error(self):
        fields = {field.name: getattr(BEST, field.name) for field in dataclasses.fields(BEST)}
        for name in fields.keys() - {"tree", "adaptation", "distillation"}:
            with pytest.raises(TypeError, match=name):
                Experiment(**{k: v for k, v in fields.items() if k != name})

    def test_no_number_is_changed_in_place(self):
        for name in ("seed", "learning_rate", "views"):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(BEST, name, None)

    def test_a_script_without_a_tree_learns_that_of_the_labels(self):
        answering = LITE1.answering(TWO)
        assert answering.tree == TWO and answering.answering(TWO) is answering
        assert answering.build_network(2)[1].get_output_shape() == (2, 2)
        assert answering.build_network.keywords == {"variant": "lite1", "tree": TWO}
        assert LITE1.answering(LITE1.tree) is LITE1

    def test_labels_of_another_tree_give_one_line(self):
        declared = LITE1.answering(TWO)
        for experiment, tree in ((BEST, TWO), (declared, BEST.tree), (declared, CLASSES(["a", "c"]))):
            with pytest.raises(DataError, match=f"tree {experiment.tree.name}, which {experiment.name}.py declares"):
                experiment.answering(tree)

    def test_a_short_run_keeps_the_fractions_of_the_schedule(self):
        short = BEST.resized(25)
        assert short.learning_rate == Steps({0: 0.04, 18: 0.004, 23: 0.0004})
        assert (short.num_chunks, short.validate_every) == (25, 1)
        assert BEST.resized(250).validate_every == 2
        kept = BEST.resized(25, keep_schedule=True)
        assert kept.learning_rate == BEST.learning_rate
        assert kept.validate_every == 20

    def test_a_short_run_has_the_whole_cosine(self):
        cosine = Cosine(peak=0.01, warm_up=0.1)
        short = dataclasses.replace(BEST, learning_rate=cosine).resized(25)
        for fraction in (0, 0.04, 0.08, 0.2, 0.6, 0.96):
            assert short.learning_rate.at(25 * fraction, 25) == pytest.approx(cosine.at(2500 * fraction, 2500))

    def test_one_chunk_has_the_last_rate_at_most_once(self):
        assert BEST.resized(1).learning_rate.at(0, 1) in BEST.learning_rate.rates.values()

    def test_smaller_chunks_are_the_same_recipe(self):
        """As many examples in all, of which the same ones see a rate change."""
        small = BEST.resized(chunk_size=2000)
        assert (small.chunk_size, small.num_chunks, small.validate_every) == (2000, 12_500, 100)
        assert small.learning_rate == Steps({0: 0.04, 9000: 0.004, 11_500: 0.0004})
        assert small.first_normalised_step == BEST.first_normalised_step == 625

    def test_as_it_is_it_is_not_changed(self):
        assert BEST.resized() == BEST
        assert BEST.resized(2500, 10000) == BEST

    @pytest.mark.parametrize(("num_chunks", "steps"), [(1, 1), (2, 2), (3, 3), (30, 3)])
    def test_no_more_than_a_third_of_a_short_run_is_not_normalised(self, num_chunks, steps):
        assert dataclasses.replace(TINY, num_chunks=num_chunks).first_normalised_step == steps


class TestSteps:
    @pytest.mark.parametrize(("chunk", "rate"), [(0, 3.0), (1.99, 3.0), (2, 2.0), (2.01, 2.0), (4.9, 2.0), (5, 1.0)])
    def test_a_rate_holds_until_the_next_one(self, chunk, rate):
        assert Steps({0: 3.0, 2: 2.0, 5: 1.0}).at(chunk, 6) == rate

    def test_the_order_of_the_chunks_is_their_number_s(self):
        assert Steps({5: 1.0, 0: 3.0, 2: 2.0}).at(3, 6) == 2.0


class TestCosine:
    schedules = st.builds(Cosine, peak=st.floats(1e-6, 10), warm_up=st.floats(0, 0.9))
    lengths = st.integers(1, 50), st.integers(1, 20)

    @given(schedules, *lengths)
    @settings(max_examples=100, deadline=None)
    def test_rises_to_its_peak_and_falls_and_never_is_zero(self, schedule, num_chunks, steps):
        places = [chunk + number / steps for chunk in range(num_chunks) for number in range(steps)]
        rates = np.array([schedule.at(place, num_chunks) for place in places])
        assert (rates > 0).all()
        assert (rates <= schedule.peak).all()
        warm = np.array(places) / num_chunks < schedule.warm_up
        assert (np.diff(rates[warm]) >= 0).all()
        assert (np.diff(rates[~warm]) <= 0).all()

    def test_of_a_long_run_starts_near_zero_and_ends_near_zero(self):
        schedule = Cosine(peak=0.01, warm_up=0.05)
        rates = np.array([schedule.at(step / 100, 100) for step in range(10000)])
        assert 0 < rates[0] < 1e-3 * 0.01
        assert rates.max() == rates[500] == 0.01
        assert 0 < rates[-1] < 1e-3 * 0.01
        np.testing.assert_allclose(rates[:500], 0.01 * np.maximum(np.arange(500) / 500, 1e-4))
        assert rates[5250] == pytest.approx(0.005)  # half way down at half of the way

    def test_without_warm_up_starts_at_its_peak(self):
        assert Cosine(peak=0.3, warm_up=0.0).at(0, 7) == 0.3


class TestNormConstraint:
    def test_limits_dense_layers_from_the_bottom_up(self):
        _, output = TINY.build_network(2)
        top, below = [each for each in layers.all_layers(output) if isinstance(each, layers.DenseLayer)]
        with torch.no_grad():
            for layer in (top, below):
                layer.W.normal_(0, 3)
        before = top.W.detach().clone()
        NormConstraint(every=1, limits=(0.25,)).apply(output)
        np.testing.assert_allclose(below.W.detach().norm(dim=0), 0.25, rtol=1e-5)
        assert torch.equal(top.W, before)
        NormConstraint(every=1, limits=(0.25, 0.5, 0.1)).apply(output)  # one more than there are layers
        np.testing.assert_allclose(top.W.detach().norm(dim=0), 0.5, rtol=1e-5)


def test_a_norm_constraint_that_all_columns_exceed_at_the_start_is_refused(prepared_survey, run_main):
    limited = dataclasses.replace(TINY, norm_constraint=NormConstraint(every=10, limits=(0.4, 0.23)))
    with pytest.raises(SystemExit, match=r"variance-preserving: all columns .* above the limit of 0.4"):
        run(run_main, prepared_survey, "--initialisation", "variance-preserving", experiment=limited)
    wide = dataclasses.replace(TINY, norm_constraint=NormConstraint(every=10, limits=(4.0,)))
    run(run_main, prepared_survey, "--initialisation", "variance-preserving", experiment=wide)
