"""Any survey's questions, through everything: votes are prepared, networks trained, blended, exported, catalogued."""

import dataclasses
import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from tiny import draw_blob, interrupt_after, write_jpeg
from tiny_network import TINY

import create_submission_from_npy
import custom
import ensemble_predictions_npy
import export_model
import layers
import predict_galaxies
import prepare_data
import show_results
from catalogue.answer_columns import answers_of
from catalogue.columns import tree_of
from catalogue.model_file import Model
from engine import prediction, training
from engine.experiment import Experiment, Steps
from engine.optimizers import AdamW
from galaxy.decision_tree import CLASSES, GALAXY_ZOO_EUCLID
from galaxy.tree import Question, Tree
from machine import tables
from machine.arrays import load_gz
from machine.files import DataError

NUM_GALAXIES, NUM_VOTES = 40, 12
# Ten lines of a user: questions like those of Euclid, in an order of their own.
MINE = Tree(
    "mine",
    (
        Question(
            "smooth-or-featured", "Is it smooth?", ("smooth", "featured", "problem"), ("round", "edge-on", "what")
        ),
        Question(
            "round", "How round?", ("round", "cigar"), ("merging", "merging"), words=("very round", "cigar-shaped")
        ),
        Question("edge-on", "Is it edge-on?", ("yes", "no"), ("merging", "arms")),
        Question("arms", "Are there arms?", ("yes", "no"), ("merging", "merging")),
        Question("merging", "Is it merging?", ("none", "minor", "merger"), default="none"),
        Question("what", "What is the problem?", ("star", "artifact")),
    ),
    convention="euclid",
)
THREE = CLASSES(["elliptical", "spiral", "other"])
OUTPUTS = {"plain": custom.OptimisedDivGalaxyOutputLayer, "dirichlet": custom.DirichletGalaxyOutputLayer}


def build_network(batch_size: int, output: str, tree: Tree = TINY.tree) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layer and the output layer of a network of two layers."""
    l0 = layers.Input2DLayer(batch_size, 3, 15, 15)
    l1 = layers.DenseLayer(layers.FlattenLayer(l0), 8, 0.1, 0.1, nonlinearity=layers.identity)
    l2 = layers.DenseLayer(l1, tree.num_answers, 0.1, 0.1, nonlinearity=layers.identity)
    if output == "weighted":
        return [l0], custom.CountWeightedDivGalaxyOutputLayer(l2, n0=10, tree=tree)
    return [l0], OUTPUTS[output](l2, tree=tree)


def experiment(tree: Tree, output: str) -> Experiment:
    views = dataclasses.replace(TINY.views, ds_transforms=TINY.views.ds_transforms[:1], target_sizes=[(15, 15)])
    return dataclasses.replace(
        TINY,
        name=f"try_{output}",
        tree=tree,
        build_network=partial(build_network, tree=tree, output=output),
        views=views,
        test_transforms=TINY.test_transforms[:2],
        make_optimizer=AdamW(betas=(0.9, 0.999), weight_decay=0.0),
        learning_rate=Steps({0: 0.003}),
        num_steps_nonorm=0,
    )


def undeclared(output: str) -> Experiment:
    """Return an experiment that learns the tree of the labels."""
    declared = experiment(TINY.tree, output)
    return dataclasses.replace(declared, build_network=partial(build_network, output=output))


def write_votes(root: Path, tree: Tree) -> None:
    """Write images, and a table of counts of their votes; the last images have no row."""
    rng = np.random.default_rng(5)
    rows = []
    for index in range(NUM_GALAXIES + 4):
        write_jpeg(root / "cutouts" / f"g{index}.jpg", draw_blob(rng))
        asked, counts = dict.fromkeys(tree.numbers, 0), {}
        asked[1] = NUM_VOTES
        for n in tree.order:
            own = rng.multinomial(asked[n], rng.dirichlet(np.ones(len(tree.question(n).answers))))
            names = tree.names[tree.slices[n]]
            counts |= {f"{name}_count": count for name, count in zip(names, own, strict=True)}
            for count, following in zip(own, tree.leads_to[n], strict=True):
                if following:
                    asked[following] += count
        rows.append({"id_str": f"g{index}", **counts})
    pandas.DataFrame(rows[:NUM_GALAXIES]).to_csv(root / "votes.csv", index=False)
    (root / "tree.toml").write_text(toml(tree))


def toml(tree: Tree) -> str:
    """Return a tree as TOML."""
    plain = tree.as_plain()
    questions = plain.pop("questions")
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for question in questions:
        question["leads_to"] = [name or "" for name in question["leads_to"]]
        lines += ["[[questions]]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in question.items() if value is not None]
    return "\n".join(lines)


class Script:
    """A training script or a prediction script, as a module."""

    def __init__(self, experiment: Experiment, main: Callable[[Experiment], None]):
        self.__name__, self.main = experiment.name, partial(main, experiment)


@pytest.mark.parametrize(
    ("tree", "outputs", "declared"),
    [(MINE, ("plain", "dirichlet"), True), (THREE, ("plain", "weighted"), True), (THREE, ("plain", "weighted"), False)],
)
def test_a_survey_with_its_own_questions_goes_through_everything(
    tree: Tree, outputs: tuple[str, str], declared: bool, tmp_path: Path, run_main: Callable,
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, one_thread: None,
):  # fmt: skip
    write_votes(tmp_path, tree)
    run = partial(lambda script, *flags: run_main(script, "--root", tmp_path, *flags))
    run(prepare_data, "--images", tmp_path / "cutouts", "--labels", tmp_path / "votes.csv",
        "--tree", tmp_path / "tree.toml", "--num-workers", 1)  # fmt: skip
    assert np.load(tmp_path / "data" / "counts_train.npy").shape == (NUM_GALAXIES, len(tree.questions))

    flags = ("--device", "cpu", "--num-workers", 1)
    first, second = (experiment(tree, output) if declared else undeclared(output) for output in outputs)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        interrupt_after(patch, 4, signal.SIGINT)
        run(Script(second, training.main), *flags)
    for each in (second, first):
        run(Script(each, training.main), *flags)
        run(Script(each, prediction.main), *flags)
    out = capsys.readouterr().out
    assert "resum" in out and "no submission" in out
    run(ensemble_predictions_npy, "--obey-tree")
    blend = tmp_path / "predictions" / "final" / "blended" / "blended_predictions.npy.gz"
    totals, weights = tree.question_totals(load_gz(blend).astype(float))
    np.testing.assert_allclose(totals, weights, atol=1e-5)
    with pytest.raises(DataError, match="Kaggle's tree"):
        run(create_submission_from_npy, blend)

    run(show_results, "--report", tmp_path / "report.html")
    out = capsys.readouterr().out
    assert f"noise floor of {NUM_VOTES}.0 votes" in out and tree.question(1).text in out
    assert "Noise of the crowd" in (tmp_path / "report.html").read_text()

    monkeypatch.setattr(export_model, "find_experiment", lambda name: second)
    monkeypatch.setattr(export_model, "NUM_FRAMED", 5)
    run(export_model, second.name, "--num-measured", 10, *flags)
    model = tmp_path / "models" / f"{second.name}.onnx"
    assert Model(model).card.tree == tree
    few = [tmp_path / "cutouts" / f"g{index}.jpg" for index in range(2)]
    for suffix in tables.SUFFIXES:
        extra = ["--report", tmp_path / "catalogue.html"] if suffix == ".csv" else []
        run(predict_galaxies, *few, "--model", model, "--output", tmp_path / f"galaxies{suffix}",
            "--full", "--num-workers", 1, *extra)  # fmt: skip
        written = tables.column_names(tmp_path / f"galaxies{suffix}")
        assert {f"{answer}_fraction" for answer in answers_of(tree)} <= set(written)
        assert ("smooth-or-featured_smooth_dirichlet" in written) is (outputs[1] == "dirichlet")
    assert tree.question(1).text in (tmp_path / "catalogue.html").read_text()
    import pyarrow.parquet

    assert tree_of(pyarrow.parquet.read_schema(tmp_path / "galaxies.parquet")) == tree
    drawn = ("--output", tmp_path / "one.csv", "--draw", tmp_path / "tree.svg")
    run(predict_galaxies, tmp_path / "cutouts" / "g0.jpg", "--model", model, *drawn)
    assert (tmp_path / "tree.svg").stat().st_size > 1000


def test_models_and_labels_of_other_trees_give_one_line(tmp_path: Path, run_main: Callable):
    write_votes(tmp_path, THREE)
    run = partial(lambda script, *flags: run_main(script, "--root", tmp_path, *flags))
    run(prepare_data, "--images", tmp_path / "cutouts", "--labels", tmp_path / "votes.csv",
        "--tree", tmp_path / "tree.toml", "--num-workers", 1)  # fmt: skip
    for tree in (TINY.tree, GALAXY_ZOO_EUCLID):
        other = experiment(tree, "plain")
        with pytest.raises(SystemExit, match=f"expected labels of the tree {tree.name}, which .* got those of classes"):
            run(Script(other, training.main), "--device", "cpu", "--num-workers", 1)
    mixed = dataclasses.replace(
        experiment(THREE, "plain"), build_network=partial(build_network, tree=MINE, output="plain")
    )
    with pytest.raises(SystemExit, match="expected an output layer of the tree classes, got one of mine"):
        run(Script(mixed, training.main), "--device", "cpu", "--num-workers", 1)
