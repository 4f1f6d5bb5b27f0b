"""doc/commands.md is what the parsers of the scripts say."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "doc"))

import make_commands


def test_the_page_is_current():
    assert make_commands.PAGE.read_text() == make_commands.make(), "run doc/make_commands.py"


def test_the_page_names_all_commands():
    shown = {script for scripts in make_commands.SECTIONS.values() for script in scripts}
    commands = {path.name for path in make_commands.ROOT.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    left_out = commands - shown
    assert shown <= commands
    assert all(name.startswith(("try_", "predict_augmented_npy_")) for name in left_out)


def test_a_flag_is_in_the_table_of_its_command():
    text = make_commands.describe("predict_galaxies.py")
    assert "| output | `--output FILE` |" in text
    assert "|  | `--threads N` |" in text
