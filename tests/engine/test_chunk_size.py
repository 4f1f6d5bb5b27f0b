"""A smaller chunk is the same recipe: as many examples, the same rates at the same ones, the same start."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import TINY, run

from engine.experiment import Cosine, Steps
from engine.network import Network
from engine.steps import Trainer
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST


def rates_by_step(experiment) -> np.ndarray:
    """Return the rate of every step of a run."""
    places = np.arange(experiment.num_chunks * experiment.steps_a_chunk) / experiment.steps_a_chunk
    return np.array([experiment.learning_rate.at(place, experiment.num_chunks) for place in places])


def examples_at_drops(experiment) -> list[int]:
    """Return the number of examples after which the rate changes."""
    return (np.flatnonzero(np.diff(rates_by_step(experiment))) * experiment.batch_size).tolist()


@pytest.mark.parametrize("chunk_size", [600, 608, 3600, 9999])
def test_a_run_of_any_chunk_size_takes_the_steps_of_2014_within_one_chunk(chunk_size: int):
    resized = BEST.resized(chunk_size=chunk_size)
    assert resized.chunk_size == chunk_size // 16 * 16
    num_steps = resized.num_chunks * resized.steps_a_chunk
    assert abs(num_steps - 1_562_500) <= resized.steps_a_chunk
    assert abs(resized.num_chunks * resized.chunk_size - 25_000_000) <= resized.chunk_size


def test_a_chunk_size_below_a_minibatch_stays():
    assert [BEST.resized(chunk_size=size).chunk_size for size in (1, 15, 16, 17, 31, 32)] == [1, 15, 16, 16, 16, 32]


@pytest.mark.parametrize("chunk_size", [600, 3600])
def test_sizes_of_chunks_share_examples_drops_and_start(chunk_size: int):
    short = BEST.resized(num_chunks=18, chunk_size=3600)
    resized = short.resized(chunk_size=chunk_size)
    assert resized.num_chunks * resized.chunk_size == pytest.approx(64_800, abs=resized.chunk_size)
    expected = [round(64_800 * 1800 / 2500), round(64_800 * 2300 / 2500)]
    assert examples_at_drops(resized) == pytest.approx(expected, rel=0.01)
    assert rates_by_step(resized)[-1] == 0.0004
    assert resized.first_normalised_step == 625
    assert resized.validate_every * resized.chunk_size == pytest.approx(short.validate_every * 3600, rel=0.5)


def test_a_chunk_size_alone_leaves_a_whole_recipe_as_it_is():
    smaller = BEST.resized(chunk_size=2000)
    assert (smaller.num_chunks, smaller.validate_every) == (12_500, 100)
    assert smaller.learning_rate == Steps({0: 0.04, 9000: 0.004, 11_500: 0.0004})
    assert BEST.resized() == BEST
    assert BEST.resized(chunk_size=10**9).num_chunks == 1


def test_another_number_of_chunks_keeps_fractions_or_examples():
    short = BEST.resized(num_chunks=25)
    assert short.learning_rate == Steps({0: 0.04, 18: 0.004, 23: 0.0004})
    assert (short.num_chunks, short.validate_every) == (25, 1)
    kept = BEST.resized(num_chunks=2100, keep_schedule=True)
    assert (kept.num_chunks, kept.learning_rate, kept.validate_every) == (2100, BEST.learning_rate, 20)
    kept = BEST.resized(num_chunks=25, chunk_size=2000, keep_schedule=True)
    assert kept.learning_rate == Steps({0: 0.04, 9000: 0.004, 11_500: 0.0004})


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 6, 7, 40])
def test_every_drop_happens_in_a_run_of_any_length(num_chunks: int):
    rates = rates_by_step(BEST.resized(num_chunks=num_chunks, chunk_size=600))
    assert list(dict.fromkeys(rates.tolist())) == [0.04, 0.004, 0.0004]


def test_a_cosine_is_relative_to_the_run():
    schedule = Cosine(peak=0.1, warm_up=0.1)
    assert schedule.scaled(0.01) == schedule


def test_no_more_than_a_third_of_a_short_run_goes_without_normalisation():
    demo = BEST.resized(num_chunks=6, chunk_size=600)
    assert demo.first_normalised_step == 6 * 37 // 3
    assert BEST.first_normalised_step == 625
    assert BEST.resized(chunk_size=100_000).first_normalised_step == 625


def test_normalisation_begins_in_the_middle_of_a_chunk_with_momentum_at_rest():
    experiment = TINY.resized(num_chunks=4)
    assert (experiment.steps_a_chunk, experiment.first_normalised_step) == (3, 3)
    halfway = dataclasses.replace(experiment, num_steps_nonorm=2)
    trainer = Trainer(halfway, Network(halfway, torch.device("cpu")))
    rng = np.random.default_rng(0)
    views = [torch.from_numpy(rng.random((8, 15, 15, 3), dtype=np.float32)) for _ in range(2)]
    labels = torch.from_numpy(rng.random((8, 37), dtype=np.float32))
    seen = []
    for chunk, number in ((0, 0), (0, 1), (0, 2), (1, 0)):
        trainer.take(views, labels, chunk, number)
        seen.append((trainer.step.normalisation, id(trainer.optimizer)))
    assert [normalisation for normalisation, _ in seen] == [False, False, True, True]
    assert seen[0][1] == seen[1][1] != seen[2][1] == seen[3][1]


def test_the_flags_say_so(prepared_survey, run_main, capsys):
    analysis = run(run_main, prepared_survey, "--chunk-size", 12)
    out = capsys.readouterr().out
    assert "--chunk-size 12: rounded down to 8, a multiple of the minibatch of 8\n" in out and "9 chunks of 8" in out
    assert len(analysis["losses_train"]) == 9
    analysis = run(run_main, prepared_survey, "--chunk-size", 12, "--num-chunks", 2)
    assert len(analysis["losses_train"]) == 2
