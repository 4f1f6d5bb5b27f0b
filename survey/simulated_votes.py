"""Votes of simulated volunteers on a simulated galaxy, who walk a decision tree.

Their answers depend on the traits that are visible: an arm that the atmosphere blurs gets no votes. Questions of Galaxy
Zoo are known by their names. The answers to any other question depend on the visible traits by weights that are drawn
from the question's name.

Source: Willett et al. 2013 (arXiv 1308.3496), figure 1 and table 2, for the tree and how often each answer is given.
"""

import zlib

import numpy as np

from galaxy.tree import Question, Tree
from survey.simulated_image import SEEING, Traits

# Volunteers per galaxy, at least and at most.
VOLUNTEERS = (30, 60)


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _nearest(value: float, centres: tuple[float, ...], width: float) -> np.ndarray:
    """Return the probability of each answer: `centres` are their values on a scale, `width` is the error of seeing."""
    scores = -0.5 * ((value - np.array(centres)) / width) ** 2
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def visible_arms(t: Traits) -> float:
    """Return the visible contrast of the arms, 0..1, after blur, inclination and the bulge's light."""
    spacing = 2 * np.pi * 0.55 * np.sin(np.radians(t.pitch)) / t.num_arms * np.sqrt(t.disk_axis_ratio)
    blur = np.exp(-0.5 * (2 * np.pi * SEEING / t.resolution / spacing) ** 2)
    return float(t.arm_contrast * blur * t.disk * np.clip((t.disk_axis_ratio - 0.2) / 0.25, 0, 1))


def visible_axis_ratio(t: Traits) -> float:
    """Return the axis ratio of the whole galaxy after blurring by the atmosphere."""
    inner = (1 - t.disk) ** 1.5  # a bulge is small beside the outline of the galaxy
    ratio = (1 - inner) * t.disk_axis_ratio + inner * t.bulge_axis_ratio
    blur = SEEING / t.resolution / 0.4
    return float(np.sqrt((ratio**2 + blur**2) / (1 + blur**2)))


def _known_probabilities(t: Traits) -> dict[str, dict[str, float]]:
    """Return, by question and answer of Galaxy Zoo, the probability of the answer of a volunteer who is asked."""
    arms, ratio, bulge = visible_arms(t), visible_axis_ratio(t), 1 - t.disk
    face_on = np.clip((t.disk_axis_ratio - 0.2) / 0.3, 0, 1)
    bar = t.bar * t.disk * face_on
    edge_on = t.disk * _sigmoid((0.4 - ratio) / 0.04)
    odd = np.array([t.ring, t.arc, t.disturbed, t.irregular, 0, t.merger, t.dust])
    features = _sigmoid(-2.1 + 1.6 * t.disk + 9 * arms + 2 * bar + 4 * edge_on + 2 * odd.max() + t.clumpiness * t.disk)
    artifact = 0.015 + 0.85 * max(t.star, 0.7 * t.trail)
    is_edge_on, has_bar, is_spiral = (
        _sigmoid((0.36 - ratio) / 0.03),
        _sigmoid(-2.6 + 6 * bar),
        _sigmoid(-1.2 + 12 * arms - 2 * t.irregular),
    )
    is_odd = _sigmoid(-2.6 + 5.3 * odd.max())
    cant_tell = 0.1 + 0.5 * np.exp(-5 * arms)
    edge_bulge = _sigmoid((bulge - 0.12) / 0.05)
    which_odd = np.array([0.15, 0.06, 0.09, 0.08, 0.4, 0.18, 0.04]) + 8 * odd**2
    smooth = np.array([1 - features, features, 0]) * (1 - artifact) + np.array([0, 0, artifact])
    which_odd /= which_odd.sum()
    edge_bulges = edge_bulge * (0.95 - 0.75 * t.boxiness), edge_bulge * (0.05 + 0.75 * t.boxiness), 1 - edge_bulge
    merger, disturbed = 0.9 * max(t.merger, 0.05), 0.6 * max(t.disturbed, t.irregular, 0.1)
    merging = (1 - merger) * np.array([1 - disturbed, disturbed * 0.65, disturbed * 0.35])
    sizes = np.sqrt(bulge)
    clumps = _sigmoid(-2.5 + 5 * t.clumpiness * t.disk)
    problem = 0.05 + 0.9 * max(t.star, 0.0), 0.05 + 0.9 * t.trail, 0.1
    return {
        "smooth-or-featured": _named("smooth featured-or-disk artifact", smooth) | {"problem": artifact},
        "disk-edge-on": _named("yes no", (is_edge_on, 1 - is_edge_on)),
        "bar": _named("yes no", (has_bar, 1 - has_bar)) | _named("strong weak", (has_bar**2, has_bar - has_bar**2)),
        "has-spiral-arms": _named("yes no", (is_spiral, 1 - is_spiral)),
        "bulge-size": _named("no just-noticeable obvious dominant", _nearest(sizes, (0.05, 0.38, 0.66, 0.9), 0.13)),
        "bulge-size of five": _named(
            "none small moderate large dominant", _nearest(sizes, (0.05, 0.3, 0.5, 0.7, 0.9), 0.13)
        ),
        "something-odd": _named("yes no", (is_odd, 1 - is_odd)),
        "how-rounded": _named("round in-between cigar", _nearest(ratio, (0.98, 0.65, 0.27), 0.12)),
        "how-rounded to cigar-shaped": _named(
            "round in-between cigar-shaped", _nearest(ratio, (0.98, 0.65, 0.27), 0.12)
        ),
        "odd-feature": _named("ring lens-or-arc disturbed irregular other merger dust-lane", which_odd),
        "bulge-shape": _named("round boxy no-bulge", edge_bulges),
        "edge-on-bulge": _named("rounded boxy none", edge_bulges),
        "spiral-winding": _named("tight medium loose", _nearest(t.pitch, (9, 18, 29), 4.5)),
        "spiral-arm-count": _named(
            "1 2 3 4 more-than-4 cant-tell",
            (*(1 - cant_tell) * _nearest(min(t.num_arms, 5), (1, 2, 3, 4, 5), 0.5), cant_tell),
        ),
        "merging": _named("none minor-disturbance major-disturbance merger", (*merging, merger)),
        "clumps": _named("yes no", (clumps, 1 - clumps)),
        "problem": _named("star artifact zoom", np.divide(problem, sum(problem))),
    }


def _named(answers: str, probabilities: np.ndarray | tuple[float, ...]) -> dict[str, float]:
    return dict(zip(answers.split(), np.asarray(probabilities, dtype=float).tolist(), strict=True))


def _drawn_probabilities(question: Question, t: Traits) -> np.ndarray:
    """Return the probabilities of the answers to any question: a softmax of visible traits, weighted at random."""
    traits = np.array([visible_axis_ratio(t) - 0.6, t.disk - 0.5, visible_arms(t) - 0.2, t.age - 0.4])
    spread = np.array([0.25, 0.4, 0.25, 0.4])  # of the traits, in a survey
    weights = np.random.default_rng(zlib.crc32(question.name.encode())).normal(0, 1.5, (len(question.answers), 4))
    scores = weights @ (traits / spread)
    return np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()


def answer_probabilities(t: Traits, tree: Tree) -> dict[int, np.ndarray]:
    """Return, by question, the probability of each answer of a volunteer who is asked."""
    known = _known_probabilities(t)
    probabilities = {}
    for n in tree.numbers:
        question = tree.question(n)
        matching = [
            answers
            for name, answers in known.items()
            if name.split(" ")[0] == question.name and set(question.answers) <= set(answers)
        ]
        if matching:
            own = np.array([matching[0][answer] for answer in question.answers])
            probabilities[n] = own if abs(own.sum() - 1) < 1e-9 else own / own.sum()
        else:
            probabilities[n] = _drawn_probabilities(question, t)
    return probabilities


def true_votes(traits: Traits, tree: Tree) -> np.ndarray:
    """Return the weighted votes of infinitely many volunteers, (answers,) float64."""
    probabilities = answer_probabilities(traits, tree)
    return tree.weigh(np.concatenate([probabilities[n] for n in tree.numbers]))


def vote(
    traits: Traits, rng: np.random.Generator, tree: Tree, num_volunteers: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Let the volunteers walk the decision tree; by default 30 to 60 of them.

    Return weighted vote fractions (answers,) float64, and the number of volunteers who answered each question
    (questions,).
    """
    probabilities = answer_probabilities(traits, tree)
    asked = dict.fromkeys(tree.numbers, 0)
    low, high = (num_volunteers, num_volunteers) if num_volunteers else VOLUNTEERS
    asked[1] = int(rng.integers(low, high + 1))
    fractions = np.zeros(tree.num_answers)
    for n in tree.order:
        # Volunteers answer independently, so one draw of counts per question replaces their single walks.
        counts = rng.multinomial(asked[n], probabilities[n])
        fractions[tree.slices[n]] = counts / max(asked[n], 1)
        for count, following in zip(counts, tree.leads_to[n], strict=True):
            if following is not None:
                asked[following] += int(count)
        question = tree.question(n)
        if asked[n] == 0 and question.everyone and question.default is not None:
            fractions[tree.slices[n].start + question.answers.index(question.default)] = 1
    return tree.weigh(fractions), np.array(list(asked.values()))
