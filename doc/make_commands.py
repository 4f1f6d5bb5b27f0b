"""Write doc/commands.md: every command, its flags by group and its examples, from the parsers of the scripts.

python doc/make_commands.py
"""

import argparse
import runpy
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = Path(__file__).with_name("commands.md")
# The commands in the order of use. One training script and one prediction script stand for all of them.
SECTIONS = {
    "Catalogue your own images": ["predict_galaxies.py", "export_model.py"],
    "Prepare data": [
        "prepare_data.py",
        "simulate_galaxies.py",
        "create_train_ids_file.py",
        "create_test_ids_file.py",
        "convert_training_labels_to_npy.py",
        "check_label_constraints.py",
        "extract_pysex_params_gen2.py",
        "extract_pysex_params_extra.py",
        "copy_data_to_shm.py",
    ],
    "Train": ["try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense.py"],
    "Predict": ["predict_augmented_npy_maxout2048_extradense.py"],
    "Blend, submit, look": ["ensemble_predictions_npy.py", "create_submission_from_npy.py", "show_results.py"],
}
NOTES = {
    "Train": "All `try_*.py` scripts have these flags. The defaults of `--num-chunks`, `--seed` and `--validate-every` "
    "are those of each script.",
    "Predict": "All `predict_augmented_npy_*.py` scripts have these flags.",
}
INTRODUCTION = """# Commands

All commands with their flags and examples. `python COMMAND --help` prints the same. Every command has `--help` and
`--version`. A misspelt flag is an error that names the nearest flag.

| exit status | meaning |
| ---: | --- |
| 0 | the command is done |
| 1 | an error, described in one line on the error output |
| 2 | a wrong flag |
| 75 | unfinished: run the same command again to resume |
| 130 | a second Ctrl-C; nothing was saved |
"""


class _Parsed(BaseException):
    """Raised in place of parsing; holds the parser of a script. `run_script` reports an Exception as a fault."""


def parser_of(script: str) -> argparse.ArgumentParser:
    """Return the parser that a script parses its command line with."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Parsed(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), mock.patch.object(sys, "argv", [script]):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except _Parsed as parsed:
            return parsed.args[0]
    raise ValueError(f"expected {script} to parse its command line, it did not")


def describe(script: str) -> str:
    """Return the section of a script: its description, its examples, and a table of flags."""
    parser = parser_of(script)
    with mock.patch.dict("os.environ", {"COLUMNS": "1000"}):  # one line for each flag
        formatter = parser._get_formatter()
    lines = [f"### {script}", "", parser.description.strip(), ""]
    if parser.epilog:
        examples = [line.strip() for line in parser.epilog.splitlines()[1:]]
        lines += ["```sh", *examples, "```", ""]
    lines += ["| group | argument | meaning |", "| --- | --- | --- |"]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help not in (None, argparse.SUPPRESS)]
        titled = group.title
        for action in actions:
            if isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
                continue
            name = ", ".join(action.option_strings) or action.metavar or action.dest
            value = formatter._format_args(action, action.dest.upper()) if action.option_strings else ""
            # A bar would end the cell of the table.
            cells = [titled, f"`{f'{name} {value}'.strip()}`", formatter._expand_help(action)]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            titled = ""
    return "\n".join(lines if len(lines) > 4 else lines[:-2]) + "\n"


def make() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for title, scripts in SECTIONS.items():
        parts += [f"## {title}\n", *([f"{NOTES[title]}\n"] if title in NOTES else []), *map(describe, scripts)]
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(make())
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
