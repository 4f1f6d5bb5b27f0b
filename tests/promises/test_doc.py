"""The documentation: what it mentions is there, and its figures can be drawn."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import layers
from machine.files import DataError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "doc"))

import draw_figures
import figure_basics

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "doc").glob("*.md")), *ROOT.glob("README.md")]
ROOMS = ("machine", "galaxy", "survey", "engine", "tried")
# What a dotted name can begin with, and what that stands for: a room, a module of the top level, or one of a room,
# which may be named without it; only what is tried is called in full.
MODULES = {
    **{path.stem: f"{room}.{path.stem}" for room in ROOMS[:-1] for path in (ROOT / room).glob("[!_]*.py")},
    **{path.stem: path.stem for path in ROOT.glob("*.py")},
    **{room: room for room in (*ROOMS, "benchmarks")},
    "ra": "realtime_augmentation",
}
FILES = (".py", ".npy", ".pkl", ".png", ".csv", ".json")


def read(page: Path) -> str:
    """Return a page's text without its comments."""
    return re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code, in which brackets are no links."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


def claims(page: Path) -> str:
    """Return what a page says is here: without table rows that say "not yet", nor the column of 2014's names."""
    lines = [line for line in read(page).splitlines() if not (line.startswith("|") and "not yet" in line)]
    kept, of_2014 = [], False
    for line in lines:
        of_2014 = line.startswith("| 2014 |") or (of_2014 and line.startswith("|"))
        kept.append(re.sub(r"^\|.*?\|", "|", line) if of_2014 else line)
    return "\n".join(kept)


def exists(name: str) -> bool:
    """Return whether a dotted name that begins with one of the project's modules can be looked up."""
    first, *attributes = name.split(".")
    place = MODULES[first]
    value = importlib.import_module(place)
    for attribute in attributes:
        place += f".{attribute}"
        if (ROOT / f"{place.replace('.', '/')}.py").is_file():
            value = importlib.import_module(place)
            continue
        try:
            value = getattr(value, attribute)
        except DataError:  # an attribute that is read from a survey on first use
            return True
        except AttributeError:
            return attribute in getattr(value, "__dataclass_fields__", ())
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
class TestPages:
    def test_files_are_there(self, page: Path):
        for name in re.findall(r"[\w*/]+\.py\b", claims(page)):
            assert list(ROOT.glob(name)) or list((ROOT / "doc").glob(name)), f"{page.name} mentions {name}"

    def test_names_are_there(self, page: Path):
        for name in re.findall(r"`(\w+(?:\.\w+)+)[`(]", claims(page)):
            if name.split(".")[0] in MODULES and not name.endswith(FILES):
                assert exists(name), f"{page.name} mentions {name}"

    def test_pictures_and_pages_are_there(self, page: Path):
        for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
            if not target.startswith(("http", "#")):
                assert (page.parent / target.split("#")[0]).exists(), f"{page.name} points to {target}"

    def test_links_within_pages_lead_to_a_heading(self, page: Path):
        for target in re.findall(r"\]\(([^)]*#[^)]+)\)", prose(page)):
            path, _, anchor = target.partition("#")
            if not path.startswith("http"):
                headings = re.findall(r"^#+ (.*)$", prose(page.parent / path if path else page), flags=re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{page.name} points to #{anchor}"


def test_parameter_counts_are_the_network_s():
    page = read(ROOT / "doc" / "method.md")
    _, output = figure_basics.best_network()
    counts = [sum(p.numel() for p in layer.params) for layer in layers.all_layers(output)]
    for count in (*filter(None, counts), sum(counts)):
        assert f"{count:,}" in page


def test_names_that_are_not_there_are_found():
    assert exists("ra.fast_warp")
    assert exists("engine.experiment.Experiment.batch_size")
    assert exists("experiment.Experiment.batch_size")
    assert exists("tried.layers.NIN2DLayer")
    assert not exists("ra.slow_warp")
    assert not exists("training.Experiment.no_number")
    assert not exists("engine.trainings")
    assert not exists("layers.DenseLayer.rescaled_biases")


@pytest.mark.parametrize("name", ["views", "parts", "network", "tree", "galaxy_tree"])
def test_figures_are_drawn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw_figures, "DPI", 40)
    path = draw_figures.draw(name, tmp_path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 150
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert pixels.std() > 10


def test_figures_in_git_are_small():
    paths = list((ROOT / "doc" / "figures").glob("*.png"))
    assert {path.stem for path in paths} >= set(draw_figures.FIGURES) - {"initialisation"}
    assert max(path.stat().st_size for path in paths) < 400_000


class TestInitialisation:
    def test_no_measurements_no_figure(self, tmp_path: Path):
        assert draw_figures.draw_initialisation(tmp_path / "initialisation.csv") is None

    def test_curves_are_those_of_the_table(self, tmp_path: Path):
        table = tmp_path / "initialisation.csv"
        table.write_text(
            "step,examples,initialisation,validation_rmse\n"
            "20,320,2014,0.17\n10,160,2014,0.18\n10,160,variance-preserving,0.16\n"
        )
        [ax] = draw_figures.draw_initialisation(table).axes
        curves = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
        assert curves == {"2014": [[160, 0.18], [320, 0.17]], "variance-preserving": [[160, 0.16]]}
