"""Checkpoints of training runs: everything that a run needs to resume and to reach the same result.

A checkpoint holds tensors and plain values only. It is written whole or not at all, and the last two are kept.
"""

import dataclasses
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from engine.description import Plain, differences
from machine.files import DataError, first_line, open_file, remove_leftovers, replacing

# Chunk and step; other files in the folder are not of this project.
_NAME = re.compile(r"[0-9]{6,}-[0-9]{6,}\.pt")


@dataclasses.dataclass
class Progress:
    """How far a run is: its whole chunks, and the errors of the steps taken in the chunk that follows."""

    chunk: int = 0
    errors: list[float] = dataclasses.field(default_factory=list)
    losses_train: list[float] = dataclasses.field(default_factory=list)
    losses_valid: dict[int, float] = dataclasses.field(default_factory=dict)
    param_stds: list[list[float]] = dataclasses.field(default_factory=list)  # [chunk][parameter]
    seconds: float = 0.0


class Store:
    """The checkpoints of one run in a folder; a run with another `identity` cannot resume from them."""

    KEPT = 2

    def __init__(self, folder: Path, identity: dict[str, Plain]):
        self.folder, self.identity = folder, json.loads(json.dumps(identity))

    def paths(self) -> list[Path]:
        """List the checkpoints from the oldest to the newest."""
        return sorted(path for path in self.folder.glob("*.pt") if _NAME.fullmatch(path.name))

    def path(self, progress: Progress) -> Path:
        """Return the path of the checkpoint at this progress."""
        return self.folder / f"{progress.chunk:06d}-{len(progress.errors):06d}.pt"

    def save(self, progress: Progress, trainer: Mapping[str, object]) -> Path:
        """Write a checkpoint with a trainer's state and the random generators; remove all but the last two."""
        path = self.path(progress)
        content = {
            "identity": json.dumps(self.identity),
            "progress": dataclasses.asdict(progress),
            "trainer": trainer,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "threads": torch.get_num_threads(),
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # torch's error when it cannot write to a file
                raise OSError(getattr(error.__context__, "strerror", None) or first_line(error)) from error
        for old in self.paths()[: -self.KEPT]:
            old.unlink()
        return path

    def restore(self) -> tuple[Progress, dict[str, object] | None]:
        """Restore the random generators from the newest checkpoint; return its progress and the trainer's state.

        Without a checkpoint the state is None. Raises DataError if the checkpoint is damaged or belongs to another run.
        """
        self._tidy()
        if not self.paths():
            return Progress(), None
        path = self.paths()[-1]
        content, progress = self._read(path)
        torch.set_rng_state(content["random"])
        for device, random in zip(range(torch.cuda.device_count()), content["random_cuda"], strict=False):
            torch.cuda.set_rng_state(random, device)
        print(f"resuming from {path}: {progress.chunk} chunks and {len(progress.errors)} steps done")
        before, threads = content["threads"], torch.get_num_threads()
        if threads != before:
            print(f"threads: {before} before, {threads} from now on; on the CPU the last digits depend on their number")
        return progress, content["trainer"]

    def _read(self, path: Path) -> tuple[dict, Progress]:
        """Read a checkpoint of this run."""
        remedy = "run with --no-resume to start anew"
        try:
            with open_file(path, remedy) as file:
                # torch.load does not compare the checksums of its zip.
                with zipfile.ZipFile(file) as archive:
                    if damaged := archive.testzip():
                        raise ValueError(f"the checksum of {damaged} differs")
                file.seek(0)
                content = torch.load(file, weights_only=True, map_location="cpu")
            identity, progress = json.loads(content["identity"]), Progress(**content["progress"])
        except Exception as error:  # a damaged file can raise any exception
            raise DataError(f"checkpoint {path} cannot be read ({first_line(error)}); remove it, or {remedy}") from None
        if different := differences(identity, self.identity):
            more = f", and {len(different) - 3} more" if len(different) > 3 else ""
            raise DataError(
                f"checkpoint {path} belongs to a run that differs in {', '.join(different[:3])}{more}; {remedy}, or "
                "rename the script: its name is the experiment's"
            )
        if "trainer" not in content:
            raise DataError(f"checkpoint {path} was written by another version of this project; {remedy}")
        return content, progress

    def clear(self) -> None:
        """Remove the checkpoints of a finished run."""
        for path in self.paths():
            path.unlink()
        self._tidy()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _tidy(self) -> None:
        remove_leftovers(self.folder / "*.pt")
