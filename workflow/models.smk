# Definitions for the rules: the models, their flags, the environment of a command.

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

# Kaggle's table and images, where they exist already; `prepare` fetches the missing ones.
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
    """Map the training script of each chosen model to its prediction script."""
    scripts = {path.stem.removeprefix(PREDICT): path for path in HOUSE.glob(f"{PREDICT}*.py")}
    scripts_of_models = {}
    for chosen in config["models"]:
        names = sorted(name for name in scripts if fnmatch(name, chosen))
        if not names:
            raise WorkflowError(f"models: {chosen} matches none of {PREDICT}*.py: {', '.join(sorted(scripts))}")
        for name in names:
            [trained] = re.findall(r"^from (try_\w+) import EXPERIMENT$", scripts[name].read_text(), re.MULTILINE)
            scripts_of_models[trained] = scripts[name].name
    return scripts_of_models


MODELS = find_models()


wildcard_constraints:
    model="|".join(map(re.escape, MODELS)),
    blend="|".join(ALL_BLENDS),
    catalogue="gen2|extra",
    shard="[0-9]+",


def flags(work: str, model: str) -> str:
    """Return the flags of all trainings or predictions, followed by those of this model."""
    name = MODELS[model].removeprefix(PREDICT).removesuffix(".py")
    return f"{config['flags'][work]} {config['flags_of'].get(name, {}).get(work, '')}"


def catalogues(wildcards) -> list[str]:
    """Return the catalogues with which a model centres and rescales its galaxies, by the name of the model."""
    generation = re.search(r"_pysex(gen1)?(_|$)", wildcards.model)
    if generation is None:
        return []
    name = "extra" if generation[1] else "gen2"
    return [f"data/pysex_params_{name}_{subset}.npy.gz" for subset in ("train", "test")]


def existing(*paths: str) -> list[str]:
    """Return the paths that exist."""
    return [path for path in paths if os.path.exists(path)]


# Rules run: exec "$PYTHON" "$HOUSE/command.py". `exec` replaces the shell, so that signals reach the command. Variables
# keep the project's folder out of the rules' text, so that another folder does not change a rule.
os.environ.update(
    PYTHON=str(config["python"] or HOUSE / ".venv" / "bin" / "python"),
    HOUSE=str(HOUSE),
    GPUS=str(getattr(workflow.global_resources.get("gpu"), "value", None) or 0),
    JOB_OF_ENGINE=str(os.getpid()),  # jobs end with this process (machine/workflow_engine.py)
)
# Slurm sends SIGUSR1 to all processes of a job before its time limit; only the command reacts to it.
signal.signal(signal.SIGUSR1, lambda signum, frame: None)


def begin() -> None:
    """Take the lock of the only engine in this folder, and end jobs that a killed engine left."""
    global lock
    Path(".snakemake").mkdir(exist_ok=True)
    lock = open(".snakemake/engine.lock", "w")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise WorkflowError(f"another engine is at work in {os.getcwd()}; wait for it or end it") from None
    if shutil.which("squeue"):
        end_left_jobs()


def end_left_jobs() -> None:
    """Cancel the Slurm jobs of a killed engine and wait until they have ended."""
    command = ["squeue", "--me", "--noheader", "--format=%A %j %Z"]

    def left() -> list[str]:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
        rows = [line.split(" ", 2) for line in lines]
        return sorted({job for job, name, folder in rows if name.startswith("galaxies_") and folder == os.getcwd()})

    if jobs := left():
        print(f"ending {len(jobs)} jobs of a killed engine: {' '.join(jobs)}", flush=True)
        subprocess.run(["scancel", *jobs], check=True, timeout=60)
    while left():
        time.sleep(1)
