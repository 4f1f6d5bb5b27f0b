"""The project with two models of milliseconds beside its own, for tests of the workflow, and runs of its engine there.

python tests/small_house.py FOLDER      # makes it, with a simulated survey, and says how to run the workflow
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "workflow" / ".venv" / "bin" / "snakemake"
MODEL = '''"""A model of milliseconds."""

import dataclasses
from pathlib import Path

from engine import training
from tiny_network import build_tiny_network
from {base} import EXPERIMENT as BASE

EXPERIMENT = dataclasses.replace(
    BASE,
    name=Path(__file__).stem,
    build_network=build_tiny_network,
    views=dataclasses.replace(BASE.views, target_sizes=[(15, 15), (15, 15)]),
    test_transforms=BASE.test_transforms[:6],
    batch_size=8,
    seed={seed},
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
'''
PREDICT = '''"""Predict with a model of milliseconds."""

from engine import prediction
from {name} import EXPERIMENT

if __name__ == "__main__":
    prediction.main(EXPERIMENT)
'''
BASES = {
    "small_pysex": "try_convnet_cc_multirotflip_3x69r45_maxout2048_pysex",
    "small": "try_convnet_cc_multirotflip_3x69r45_maxout2048",
}
TRAIN = ("--num-chunks", "3", "--chunk-size", "24")
PREDICTION = ("--chunk-size", "18")
CONFIG = f"""
models: ["small*"]
flags: {{prepare: "", train: {" ".join(TRAIN)}, predict: {" ".join(PREDICTION)}, blend: ""}}
shards: 3
threads: {{extract: 1, train: 1, predict: 1}}
gpus_a_model: 0
python: {sys.executable}
"""


def build(folder: Path) -> Path:
    """Return a new `house` in a folder: the project, linked, with two models more, and a copy of the workflow."""
    house = folder / "house"
    house.mkdir()
    for path in (*ROOT.glob("*.py"), *(each.parent for each in ROOT.glob("*/__init__.py"))):
        (house / path.name).symlink_to(path)
    (house / "tiny_network.py").symlink_to(ROOT / "tests" / "tiny_network.py")
    shutil.copytree(ROOT / "workflow", house / "workflow", ignore=shutil.ignore_patterns(".venv"))
    for seed, (name, base) in enumerate(BASES.items()):
        (house / f"try_{name}.py").write_text(MODEL.format(base=base, seed=seed))
        (house / f"predict_augmented_npy_{name}.py").write_text(PREDICT.format(name=f"try_{name}"))
    (house / "config.yaml").write_text(CONFIG)
    return house


def simulate(root: Path) -> None:
    """Write a survey of 40 training and 12 test galaxies."""
    numbers = ("--num-train", "40", "--num-test", "12")
    command = [sys.executable, ROOT / "simulate_galaxies.py", "--root", root, "--num-workers", "1", *numbers]
    subprocess.run(command, check=True, capture_output=True)


def command(house: Path, *flags: str) -> list[object]:
    """Return the command line of the engine, which runs below its current folder."""
    workflow = house / "workflow"
    profile = ["--workflow-profile", workflow / "profiles" / "laptop"]
    return [ENGINE, "-s", workflow / "Snakefile", "--configfile", house / "config.yaml", *profile, *flags]


def start(house: Path, root: Path, *flags: str) -> subprocess.Popen:
    """Start the engine in a session of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command(house, *flags), cwd=root, start_new_session=True, **pipes)


def run(house: Path, root: Path, *flags: str) -> str:
    """Run the engine to its end; return what it said."""
    with start(house, root, *flags) as engine:
        out, _ = engine.communicate()
    assert engine.returncode == 0, out
    return out


def run_by_hand(house: Path, root: Path, blends: tuple[str, ...]) -> None:
    """Run the README's commands, a thread each as the configuration has it."""
    scripts = [("prepare_data.py",), ("extract_pysex_params_gen2.py", "--num-workers", "1")]
    scripts += [(f"try_{name}.py", *TRAIN) for name in BASES]
    scripts += [(f"predict_augmented_npy_{name}.py", *PREDICTION) for name in BASES]
    scripts += [("ensemble_predictions_npy.py",)]
    scripts += [("create_submission_from_npy.py", root / f"predictions/final/blended/{name}.npy.gz") for name in blends]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for script, *flags in scripts:
        line = [sys.executable, house / script, "--root", root, *flags]
        subprocess.run(line, check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir()
    house = build(folder)
    simulate(folder / "survey")
    print(f"cd {folder / 'survey'} && {' '.join(map(str, command(house)))}")
