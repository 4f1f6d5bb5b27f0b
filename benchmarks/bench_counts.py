"""Compare errors that know the counts of votes with the plain one, on simulated galaxies with few and many votes.

    python benchmarks/bench_counts.py

A small network sees the visible traits of simulated galaxies in place of their images, so that a run takes seconds.
Volunteers answer the questions of Galaxy Zoo 2: 5, 10 or 40 a galaxy, or a mixture of the three. The score is the RMSE
against the true votes of other galaxies, those of infinitely many volunteers; coverage is the part of the true
fractions of question 1 within the central 68 % of the Dirichlet distribution. In 600 steps the likelihood is not yet at
its best. Results: doc/trees.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import custom
import layers
from galaxy.decision_tree import GALAXY_ZOO_2 as TREE
from layer_graph import InputBase
from simulate_galaxies import draw_traits
from survey.predictions import rmse
from survey.simulated_image import Traits
from survey.simulated_votes import true_votes, visible_arms, visible_axis_ratio, vote

VOTES = {"5": (5,), "10": (10,), "40": (40,), "mixed": (5, 10, 40)}
BATCH_SIZE, NUM_UNITS, RATE = 64, 64, 0.003
FEATURES = (
    *("bar", "disk", "clumpiness", "ring", "arc", "disturbed", "irregular", "merger", "dust", "star", "trail"),
    *("pitch", "num_arms", "boxiness", "age"),
)
# n0 = 0.15 / RMSE^2, for an RMSE of about 0.1.
N0 = 15.0


def features_of(traits: Traits) -> list[float]:
    """Return what an image would show of a galaxy."""
    values = [float(getattr(traits, name)) for name in FEATURES]
    return [*values, visible_arms(traits), visible_axis_ratio(traits)]


def simulate(num: int, votes: tuple[int, ...], seed: int) -> tuple[torch.Tensor, ...]:
    """Return features, votes of few volunteers, their counts, and true votes of `num` galaxies, as tensors."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(num):
        traits = draw_traits(rng)
        rows.append((features_of(traits), *vote(traits, rng, TREE, int(rng.choice(votes))), true_votes(traits, TREE)))
    return tuple(torch.tensor(np.array(column), dtype=torch.float32) for column in zip(*rows, strict=True))


def standardised(data: tuple[torch.Tensor, ...], test: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of both, in units of their deviation from the mean over the first."""
    mean, std = data[0].mean(dim=0), data[0].std(dim=0).clamp(min=1e-3)
    return tuple((each[0] - mean) / std for each in (data, test))


def build(name: str, num_features: int) -> tuple[layers.Layer, layers.Layer]:
    """Return the input layer and the output layer of a network with one of the three errors."""
    l0 = InputBase(BATCH_SIZE, num_features)
    l1 = layers.DenseLayer(l0, NUM_UNITS, 0.2, 0.1)
    l2 = layers.DenseLayer(l1, NUM_UNITS, 0.2, 0.1)
    l3 = layers.DenseLayer(l2, TREE.num_answers, 0.1, 0.0, nonlinearity=layers.identity)
    output = {
        "plain": lambda: custom.GalaxyOutputLayer(l3),
        "weighted": lambda: _SoftmaxByCounts(l3, n0=N0),
        "dirichlet": lambda: custom.DirichletGalaxyOutputLayer(l3),
    }[name]()
    return l0, output


class _SoftmaxByCounts(custom.CountWeightedDivGalaxyOutputLayer):
    """The weighted squared error on the predictions of the plain network."""

    fractions = custom.GalaxyOutputLayer.fractions


def train(name: str, data: tuple[torch.Tensor, ...], seed: int, num_steps: int) -> tuple[layers.Layer, layers.Layer]:
    """Train a network; the rate falls as a cosine."""
    features, targets, counts, _ = data
    torch.manual_seed(seed)
    l0, output = build(name, features.shape[1])
    optimizer = torch.optim.Adam(layers.all_parameters(output), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        rows = torch.randint(len(features), (BATCH_SIZE,))
        activations = output.input_layer.output({l0: features[rows]})
        options = {"counts": counts[rows]} if output.num_counts else {}
        optimizer.zero_grad()
        output.error_of(activations, targets[rows], **options).backward()
        optimizer.step()
        schedule.step()
    return l0, output


def coverage(output: custom.DirichletGalaxyOutputLayer, activations: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the part of the true fractions of question 1 within the central 68 % of their distributions."""
    from scipy.stats import beta

    alpha = output.concentrations(activations)[:, TREE.slices[1]].numpy()
    low, high = (beta.ppf(q, alpha, alpha.sum(axis=1, keepdims=True) - alpha) for q in (0.16, 0.84))
    inside = truth[:, TREE.slices[1]].numpy()
    return float(((inside >= low) & (inside <= high)).mean())


def main() -> None:
    """Print a table: the RMSE against true votes by votes per galaxy and error, each seed and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--votes", nargs="+", choices=VOTES, default=list(VOTES))
    parser.add_argument("--num-galaxies", type=int, default=1000)
    parser.add_argument("--num-steps", type=int, default=1500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    test = simulate(500, (5,), 999)
    print("votes  error      RMSE of each seed             mean    68 % coverage")
    for votes in args.votes:
        choices = VOTES[votes]
        data = [simulate(args.num_galaxies, choices, seed) for seed in range(args.seeds)]
        for name in ("plain", "weighted", "dirichlet"):
            scores, covered = [], []
            for seed in range(args.seeds):
                seen, unseen = standardised(data[seed], test)
                l0, output = train(name, (seen, *data[seed][1:]), seed, args.num_steps)
                with torch.inference_mode():
                    activations = output.input_layer.output({l0: unseen}, dropout_active=False)
                    scores.append(rmse(output(activations).numpy(), test[3].numpy()))
                    covered += [coverage(output, activations, test[3])] if name == "dirichlet" else []
            each = "  ".join(f"{score:.4f}" for score in scores)
            note = f"    {np.mean(covered):.2f}" if covered else ""
            print(f"{votes:5}  {name:9}  {each:28}  {np.mean(scores):.4f}{note}", flush=True)


if __name__ == "__main__":
    main()
