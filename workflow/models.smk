# What the rules are about: the models, their flags, how a command is run.

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from fnmatch import fnmatch
from pathlib import Path

from snakemake.exceptions import WorkflowError

HOUSE = Path(workflow.basedir).parent
PREDICT = "predict_augmented_npy_"

# Kaggle's table and images, where they are there already: `prepare` brings what is not.
RAW = [
    "data/raw/training_solutions_rev1.csv",
    "data/raw/images_train_rev1",
    "data/raw/images_training_rev1",
    "data/raw/images_test_rev1",
]
ALL_BLENDS = [
    "blended_predictions_uniform",
    "blended_predictions",
    "blended_predictions_questions",
    "blended_predictions_separate",
]
BLENDS = [name for name in ALL_BLENDS if name.removeprefix("blended_predictions").removeprefix("_") in config["submit"]]
SHARDS = config["shards"]


def find_models() -> dict[str, str]:
    """Return the prediction script of each model that the configuration chooses, by the name of its training script."""
    scripts = {path.stem.removeprefix(PREDICT): path for path in HOUSE.glob(f"{PREDICT}*.py")}
    found = {}
    for chosen in config["models"]:
        names = sorted(name for name in scripts if fnmatch(name, chosen))
        if not names:
            raise WorkflowError(f"models: {chosen} is none of {PREDICT}*.py: {', '.join(sorted(scripts))}")
        for name in names:
            [trained] = re.findall(r"^from (try_\w+) import EXPERIMENT$", scripts[name].read_text(), re.MULTILINE)
            found[trained] = scripts[name].name
    return found


MODELS = find_models()


wildcard_constraints:
    model="|".join(map(re.escape, MODELS)),
    blend="|".join(ALL_BLENDS),
    catalogue="gen2|extra",
    shard="[0-9]+",


def flags(work: str, model: str) -> str:
    """Return the flags of all trainings or predictions, then those of this model."""
    name = MODELS[model].removeprefix(PREDICT).removesuffix(".py")
    return f"{config['flags'][work]} {config['flags_of'].get(name, {}).get(work, '')}"


def catalogues(wildcards) -> list[str]:
    """Return the measurements that a model centres and rescales its galaxies by; its name tells which."""
    generation = re.search(r"_pysex(gen1)?(_|$)", wildcards.model)
    if generation is None:
        return []
    name = "extra" if generation[1] else "gen2"
    return [f"data/pysex_params_{name}_{subset}.npy.gz" for subset in ("train", "test")]


def found(*paths: str) -> list[str]:
    """Return those of these files and folders that are there."""
    return [path for path in paths if os.path.exists(path)]


# What rules call: exec "$PYTHON" "$HOUSE/command.py". A command takes the shell's place, so that signals reach it, and
# nothing between it and the engine dies of them. Where the project lies is no part of a rule, and bears on nothing.
os.environ.update(
    PYTHON=str(config["python"] or HOUSE / ".venv" / "bin" / "python"),
    HOUSE=str(HOUSE),
    GPUS=str(getattr(workflow.global_resources.get("gpu"), "value", None) or 0),
    JOB_OF_ENGINE=str(os.getpid()),  # what this process starts ends with it, however that came (machine/jobs.py)
)
# Slurm sends SIGUSR1 to all processes of a job some time before its limit: it is for the command.
signal.signal(signal.SIGUSR1, lambda number, frame: None)


def begin() -> None:
    """See to it that this is the only engine here: one lock that ends with it, no jobs left of one that was killed."""
    global lock
    Path(".snakemake").mkdir(exist_ok=True)
    lock = open(".snakemake/engine.lock", "w")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise WorkflowError(f"another engine is at work in {os.getcwd()}; wait for it, or end it") from None
    if shutil.which("squeue"):
        end_left_jobs()


def end_left_jobs() -> None:
    """Cancel the jobs on Slurm of an engine that was killed, and wait until they have ended."""
    command = ["squeue", "--me", "--noheader", "--format=%A %j %Z"]

    def left() -> list[str]:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
        rows = [line.split(" ", 2) for line in lines]
        return sorted({job for job, name, place in rows if name.startswith("galaxies_") and place == os.getcwd()})

    if jobs := left():
        print(f"ending {len(jobs)} jobs of an engine that was killed: {' '.join(jobs)}", flush=True)
        subprocess.run(["scancel", *jobs], check=True, timeout=60)
    while left():
        time.sleep(1)
