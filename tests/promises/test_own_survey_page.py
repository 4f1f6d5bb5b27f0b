"""The page on a model for your own survey: all of its commands run, on few simulated galaxies and in small numbers."""

import dataclasses
import importlib
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, ROOT

import layers
import simulate_galaxies
import try_finetune_efficientnet_lite0 as lite0
from engine import prediction, starting_weights, training
from engine.network import Network

PAGE = ROOT / "doc" / "own_survey.md"
# A network of milliseconds in the place of EfficientNet-Lite0.
SMALL = dataclasses.replace(OTHER, name=lite0.EXPERIMENT.name, test_transforms=OTHER.test_transforms[:2])
# The same commands on less: each must be there, and no other number is changed.
LESS = {
    "1 2 3 4 5": "1 2",
    "$i/5": "$i/2",
    "--epochs 40": "--epochs 1 --chunk-size 8 --num-workers 1 --device cpu",
    "--output own.onnx": "--output own.onnx --num-measured 8 --num-workers 1",
}


def commands_of(page: str) -> list[list[str]]:
    """Return the arguments of each command of a page's shell blocks; loops are unrolled."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE))
    loop = re.compile(r"^for (\w+) in (.*?); do\n(.*?)^done$", re.DOTALL | re.MULTILINE)
    text = loop.sub(lambda m: "\n".join(m[3].replace(f"${m[1]}", value) for value in m[2].split()), text)
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def test_each_command_runs(tmp_path: Path, run_main, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_main(simulate_galaxies, "--root", "sim", "--num-train", 24, "--num-test", 3)
    raw = tmp_path / "sim" / "data" / "raw"
    for folder in ("images_train_rev1", "images_test_rev1"):
        shutil.copytree(raw / folder, "cutouts", dirs_exist_ok=True)
    shutil.copy(raw / "training_solutions_rev1.csv", "votes.csv")
    monkeypatch.setattr(starting_weights, "MODELS", tmp_path)
    monkeypatch.setattr(lite0, "EXPERIMENT", SMALL)
    torch.manual_seed(1)
    network = Network(SMALL, CPU)
    layers.reset_all_params(network.output_layer)
    starting_weights.write(tmp_path / "lite0_start.npz", SMALL.name, network, {})
    page = PAGE.read_text()
    for usual, less in LESS.items():
        assert usual in page
        page = page.replace(usual, less)
    commands = commands_of(page)
    assert len(commands) == 11
    for python, name, *arguments in commands:
        assert python == "python"
        module = importlib.import_module(name.removesuffix(".py"))
        if name.startswith(("try_", "predict_augmented_npy_")):
            run = (training if name.startswith("try_") else prediction).main
            module = type("Script", (), {"__name__": name, "main": staticmethod(partial(run, SMALL))})
        run_main(module, *arguments)
    out = capsys.readouterr().out
    assert "started from" in out and "2 of 2 layers with parameters" in out
    assert re.search(r"try_finetune_efficientnet_lite0 +0\.\d{4} \+- 0\.\d{4}\nbox\.csv +0\.\d{4}", out)
    assert len(Path("catalogue.csv").read_text().splitlines()) == 1 + 27
