"""Figures of a training: what they say in words, and that both papers have one."""

import numpy as np
from matplotlib.figure import Figure

from galaxy.decision_tree import GALAXY_ZOO_2
from report import figures, reliability


def test_learning_curves_name_the_last_error_of_each_run():
    drawn = figures.learning_curves({"a": ([0.3, 0.2], {2: 0.25}), "b": ([0.4], {}), "c": ([], {})})
    assert drawn.alternative == "Learning curves: a ends at 0.2500; b ends at 0.4000 (training); c ends at no chunk"
    assert drawn.light.startswith(b"<?xml") and drawn.light != drawn.dark


def test_calibration_curves_name_the_mean_and_the_largest_error():
    labels = np.random.default_rng(0).uniform(0, 1, (50, 37))
    off = labels.copy()
    off[:, 3] = labels[:, 3] / 2
    measured = reliability.measure(off, labels)
    words = figures.calibration_curves(measured, GALAXY_ZOO_2).alternative
    assert f"mean is {measured.errors.mean():.4f}, the largest {measured.errors.max():.4f}" in words


def test_legends_of_calibration_curves_are_beside_their_panels(monkeypatch):
    panels = []

    def draw_once(draw, size, grid, **words):
        canvas = Figure(size, layout="constrained")
        axes = canvas.subplots(*grid, squeeze=False)
        draw(axes, figures.LINES["light"], figures.COLOURS["light"])
        canvas.draw_without_rendering()
        panels.extend((ax.get_window_extent(), ax.get_legend()) for ax in axes.flat)

    monkeypatch.setattr(figures, "on_both", draw_once)
    labels = np.random.default_rng(0).uniform(0, 1, (50, 37))
    figures.calibration_curves(reliability.measure(labels, labels), GALAXY_ZOO_2)
    legends = [(panel, legend) for panel, legend in panels if legend]
    assert len(legends) == 11
    assert all(legend.get_window_extent().x0 >= panel.x1 - 1 for panel, legend in legends)


def test_residuals_name_the_widest_answer():
    values = np.zeros((200, 37))
    values[:, GALAXY_ZOO_2.column(4, 1)] = np.linspace(-0.4, 0.4, 200)
    words = figures.residuals(values, GALAXY_ZOO_2).alternative
    assert "the widest are those of spiral: 95 % are between -0.38 and 0.38" in words


def test_the_same_figure_is_the_same_bytes():
    runs = {"a": ([0.3, 0.2], {1: 0.25})}
    assert figures.learning_curves(runs) == figures.learning_curves(runs)
