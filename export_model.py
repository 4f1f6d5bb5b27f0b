"""Export a trained model as one ONNX file with its card, for predict_galaxies.py, which runs without torch.

The file contains the network, the normalisation down the tree and the average over the test transforms. Its card
contains the views, the framing radius of the training images, and intervals and distances measured on the validation
galaxies. The card is also written beside it for programs (.json) and for readers (.md). See doc/own_images.md.
"""

import argparse
import importlib
import json
import re
from pathlib import Path

from machine.command_line import positive_int, run_script

import numpy as np
import onnx

from catalogue import answer_columns, calibration, card, framing, likely_path
from catalogue.graph_checks import CONCENTRATIONS, FEATURES, OUTPUTS
from catalogue.model_file import Model
from engine import export, starting_weights, teaching
from engine.examples import Examples
from engine.experiment import Experiment
from engine.export import Exported
from engine.network import find_device, load_network
from engine.options import Options, explain_out_of_memory, named, shared_parser
from engine.prediction import images_a_batch
from engine.quantisation import quantised
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.image_files import read
from galaxy.tree import Tree
from machine import products, seals
from machine.files import DataError, file_checksum, first_line, read_text, replacing
from machine.locks import alone
from machine.processes import mapping
from machine.products import Product
from machine.version import VERSION
from survey import folders, images
from survey.predictions import rmse, twin_of
from survey.survey_tree import read_tree

# Training images for the framing radius, for distances, and for the ranges of activations in int8.
NUM_FRAMED, NUM_MEASURED, NUM_RANGED = 400, 1000, 100
# Validation images for the comparison with torch's predictions, and the largest difference for each type of weights.
NUM_COMPARED = 100
LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 0.01, "int8": 0.3}

# Texts of a card that --facts does not give.
DEFAULT_FACTS = {
    "data": "the training images of the data folder",
    "licence": "as its training data and weights allow",
    "credits": "Images of galaxies: SDSS. Votes: Galaxy Zoo 2 (Willett et al. 2013) and its volunteers.",
}
# Credits of a model of other questions.
OTHER_CREDITS = "The makers of the images, and those who labelled them."


def default_facts(tree: Tree) -> dict[str, str]:
    """Return the texts of a card that --facts does not give."""
    return DEFAULT_FACTS if tree == GALAXY_ZOO_2 else DEFAULT_FACTS | {"credits": OTHER_CREDITS}


def read_facts(path: Path) -> dict[str, str]:
    """Read titles and texts for a card from a JSON file; raises DataError."""
    try:
        facts = json.loads(read_text(path, "name another file with --facts"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"--facts {path}: {first_line(error)}; write a JSON object of titles and texts") from None
    if not isinstance(facts, dict) or not all(isinstance(text, str) for text in facts.values()):
        raise DataError(
            f'--facts {path}: expected a JSON object of titles and texts; write it like {{"licence": "CC BY 4.0"}}'
        )
    return facts


def find_experiment(name: str) -> Experiment:
    """Import the experiment of a training script in this folder; raises DataError if there is no such script."""
    name = name.removesuffix(".py")
    if not re.fullmatch(r"try_\w+", name) or not (Path(__file__).parent / f"{name}.py").is_file():
        raise DataError(f"expected the name of a try_*.py script of this folder, got {name}")
    return importlib.import_module(name).EXPERIMENT


def measured_radius(path: Path) -> float:
    """Measure the Petrosian radius (pixels) of the galaxy in an image; NaN if no galaxy is detected."""
    found, _ = framing.measure(read(path))
    return np.nan if found is None else found.radius


def spread_over(indices: np.ndarray, num: int) -> np.ndarray:
    """Choose at most `num` of the indices (n,) at equal distances."""
    return indices[np.linspace(0, len(indices) - 1, min(num, len(indices))).astype(int)]


def framing_radius(indices: np.ndarray, num_workers: int | None) -> float:
    """Measure the framing radius of training images (n,) as predict_galaxies.py measures other images."""
    folder, ids = folders.current.images("train"), images.ids_of("train")
    paths = [Path(images.image_path(folder, ids[index])) for index in indices]
    with mapping(num_workers, 16) as run:
        radii = np.array(list(run(measured_radius, paths)))
    if not np.isfinite(radii).any():
        raise DataError("expected galaxies in the training images, detected none; check the images")
    return framing.training_radius(radii)


def graph_of(
    exported: Exported, examples: Examples, measured: np.ndarray, weights: str, images_a_batch: int
) -> onnx.ModelProto:
    """Export a network as a graph with the statistics of features of training images (n,)."""
    _, features = exported.run(examples, measured, images_a_batch)
    statistics = calibration.fit_features(features)
    exported.measure_distances(
        statistics.mean, statistics.directions, statistics.deviations, statistics.rest, statistics.weight_of_rest
    )
    exported.set_axes(statistics.axes)
    graph = export.to_onnx(
        exported,
        examples.experiment.views.shapes,
        (*OUTPUTS, FEATURES, *([CONCENTRATIONS] if exported.has_concentrations else [])),
    )
    if weights == "float16":
        export.halve(graph)
    elif weights == "int8":
        graph = quantised(graph, exported.feeds(examples, spread_over(measured, NUM_RANGED)))
    return graph


def checked_difference(
    graph: onnx.ModelProto, exported: Exported, examples: Examples, valid: np.ndarray, weights: str
) -> float:
    """Return the root mean square difference of the graph's predictions of validation galaxies (n,) from torch's.

    Raises DataError if a difference is larger than the type of weights explains.
    """
    differences = exported.differences(graph, examples, spread_over(valid, NUM_COMPARED))
    largest = np.abs(differences).max()
    if not largest <= LARGEST_DIFFERENCE[weights]:
        raise DataError(
            f"the exported network's predictions are {largest:.2g} off: expected at most "
            f"{LARGEST_DIFFERENCE[weights]:g}; find the layer that ONNX computes differently, or choose other --weights"
        )
    return float(np.sqrt(np.mean(differences**2)))


def _announce(step: int, work: str) -> None:
    print(f"{step}/5: {work}", flush=True)


def build(experiment: Experiment, options: Options, args: argparse.Namespace) -> tuple[onnx.ModelProto, card.Card]:
    """Export a trained experiment: return its graph and its card."""
    _announce(1, "the network is loaded, and all images are looked at")
    network = load_network(experiment, find_device(options.device), "float32")
    exported = Exported(experiment, network, args.views)
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    examples = Examples(experiment, options, network.device)
    train, valid = examples.good(train, "train"), examples.good(valid, "train")
    batch = images_a_batch(experiment.views, exported.num_views, network.device)
    measured = spread_over(train, args.num_measured)
    _announce(2, f"features of {len(measured)} training images")
    graph = graph_of(exported, examples, measured, args.weights, batch)
    _announce(3, "the graph's predictions are compared with the network's")
    difference = checked_difference(graph, exported, examples, valid, args.weights)
    if args.calibrate_with:
        valid = np.sort(np.concatenate([train, valid]))
        _announce(4, f"features of {len(valid)} images, for distances; predictions of the folds, for intervals")
        predictions = teaching.load(args.calibrate_with).train[valid]
        distances = calibration.held_out_distances(exported.run(examples, valid, batch)[1])
    else:
        calibrating = graph
        if options.all_galaxies:
            # A network trained on all galaxies cannot be calibrated with them; its twin left validation galaxies out.
            twin = named(experiment, False)
            held_out = Exported(twin, load_network(twin, network.device, "float32"), args.views)
            calibrating = graph_of(held_out, examples, measured, args.weights, batch)
        _announce(4, f"predictions of {len(valid)} validation images, for intervals")
        predictions, distances = export.run_graph(calibrating, exported.feeds(examples, valid))
    print(f"calibrated on {len(valid)} galaxies, RMSE {rmse(predictions, labels[valid]):.6f}", flush=True)
    classes, tree = likely_path.classes_of(labels[train]), experiment.tree
    _announce(5, f"sizes of {min(NUM_FRAMED, len(train))} galaxies, for the framing")
    made = card.Card(
        name=experiment.name,
        ds_transforms=np.stack([tform.params for tform in experiment.views.ds_transforms]),
        target_sizes=tuple(tuple(size) for size in experiment.views.target_sizes),
        test_transforms=np.stack([tform.params for tform in exported.sharing.representatives]),
        num_averaged=exported.num_transforms,
        num_views=exported.num_views,
        framing_radius=framing_radius(spread_over(train, NUM_FRAMED), options.num_workers),
        weighted=calibration.fit_intervals(predictions, labels[valid]),
        conditional=calibration.fit_intervals(
            answer_columns.conditional(predictions, tree),
            answer_columns.conditional(labels[valid].astype(np.float64), tree),
        ),
        distances=np.quantile(distances, np.linspace(0, 1, card.DISTANCE_LEVELS)),
        path_questions=tuple(likely_path.known_questions(predictions, labels[valid], classes, tree)),
        classes=classes,
        tree=tree,
        facts={
            **args.facts,
            **{title: text for title, text in default_facts(tree).items() if title not in args.facts},
            "numbers": {
                "training galaxies": len(labels) if options.all_galaxies else len(train),
                "validation galaxies": len(valid),
                "validation RMSE": round(float(rmse(predictions, labels[valid])), 6),
                "parameters": int(sum(param.numel() for param in network.parameters)),
                "opset": export.OPSET,
                "weights": args.weights,
                "version of the project": VERSION,
                "difference from the trained network (root mean square)": float(f"{difference:.2g}"),
            },
        },
    )
    graph.metadata_props.add(key=card.KEY, value=made.to_json())
    return graph, made


def products_of(path: Path, source: str) -> list[Product]:
    """Return the files that an export writes: the model, and its cards for programs and for readers."""
    return [Product(path.with_suffix(suffix), source) for suffix in (".onnx", ".json", ".md")]


def write(path: Path, graph: onnx.ModelProto, made: card.Card, source: str = seals.NO_SOURCE) -> None:
    """Write the model and its cards, once all three are complete and the model can be read."""
    beside, page = path.with_suffix(".json"), path.with_suffix(".md")
    graph.metadata_props.add(key="seal", value=seals.blank(source))
    # The model takes its place first, the pages follow.
    with (
        replacing(page, sealed=True) as new_page,
        replacing(beside, sealed=True) as new_card,
        replacing(path) as new_model,
    ):
        new_model.write_bytes(graph.SerializeToString())
        seals.press(new_model)
        size, sha256 = new_model.stat().st_size, file_checksum(new_model)
        Model(new_model)
        values = {"sha256": sha256, "seal": seals.blank(source), **json.loads(made.to_json())}
        new_card.write_text(json.dumps(values, indent=1))
        new_page.write_text(f"{card.to_markdown(made, sha256)}\n<!-- {seals.blank(source)} -->\n", encoding="utf-8")
        beside.unlink(missing_ok=True)  # the earlier card describes another file
    print(f"wrote {path} ({size / 1e6:.1f} MB, opset {export.OPSET}), {beside.name} and {page.name}")


def write_starting_weights(experiment: Experiment, options: Options, args: argparse.Namespace) -> None:
    """Write a trained experiment as starting weights, with cards; raises DataError."""
    path, analysis = args.starting_weights, folders.current.analysis(experiment.name)
    if path.suffix != ".npz":
        raise DataError(f"expected --starting-weights that end with .npz, got {path}")
    products.check(starting_weights.products_of(path), [args.facts_file or analysis, analysis], args.overwrite)
    network = load_network(experiment, find_device(options.device), "float32")
    facts = {**args.facts, **{title: text for title, text in DEFAULT_FACTS.items() if title not in args.facts}}
    starting_weights.write(path, experiment.name, network, facts)


def source_of(experiment: Experiment, args: argparse.Namespace) -> str:
    """Return the source of an export: the trained parameters, and the flags that change the files."""
    analysis = folders.current.analysis(experiment.name)
    trained = file_checksum(analysis) if analysis.is_file() else ""
    return seals.source_of(
        experiment.name,
        trained,
        repr((args.weights, args.num_measured, args.views, args.calibrate_with, sorted(args.facts.items()))),
    )


def main() -> None:
    """Run the script."""
    parser = shared_parser(
        __doc__,
        examples=(
            "python export_model.py try_finetune_efficientnet_lite0 --output own.onnx",
            "python export_model.py try_finetune_efficientnet_lite0 --root mine --weights int8 --output own.onnx",
            "python export_model.py try_finetune_efficientnet_lite0 --starting-weights own.npz",
        ),
    )
    parser.group("model").add_argument("name", help="a trained try_*.py script")
    parser.group("output").add_argument(
        "--output", type=Path, metavar="FILE", help="file of the model (default: ROOT/models/NAME.onnx)"
    )
    parser.group("output").add_argument(
        "--weights",
        choices=tuple(LARGEST_DIFFERENCE),
        default="float32",
        help="number format of the stored weights; float16 computes in float32; int8 is three times as fast, "
        "with a typical error of 0.006",
    )
    parser.add_argument("--num-measured", type=positive_int, default=NUM_MEASURED, help=argparse.SUPPRESS)
    parser.group("output").add_argument(
        "--starting-weights",
        type=Path,
        metavar="FILE",
        help="write a .npz from which other trainings start (--start-from FILE), instead of a model",
    )
    parser.group("model").add_argument(
        "--calibrate-with",
        nargs="+",
        metavar="NAME",
        default=(),
        help="measure the intervals on what the folds of these experiments predict (--fold), for all training "
        "galaxies; for a student its teachers",
    )
    parser.group("output").add_argument(
        "--views",
        type=positive_int,
        metavar="N",
        help="catalogues use the first N test transforms unless they ask for others (default: all)",
    )
    parser.group("output").add_argument("--facts", type=Path, metavar="JSON", help="more titles and texts for the card")
    args = parser.parse_args()
    options = Options.from_args(args)

    def run() -> None:
        args.facts_file, args.facts = args.facts, read_facts(args.facts) if args.facts else {}
        options.use_folders()
        experiment = named(find_experiment(args.name).answering(read_tree(folders.current)), options.all_galaxies)
        if args.starting_weights:
            return write_starting_weights(experiment, options, args)
        output = args.output or folders.current.root / "models" / f"{twin_of(experiment.name)}.onnx"
        if output.suffix != ".onnx":
            raise DataError(f"expected an --output that ends with .onnx, got {output}")
        source = source_of(experiment, args)
        inputs = [path for path in (args.facts_file, folders.current.analysis(experiment.name)) if path]
        products.check(products_of(output, source), inputs, args.overwrite)
        with explain_out_of_memory(), alone(output.with_name(f".{output.name}.lock"), f"the export to {output}"):
            write(output, *build(experiment, options, args), source)

    run_script(run)


if __name__ == "__main__":
    main()
