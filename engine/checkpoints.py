"""Where a training run stands, on disk: all that it takes to go on to the same result.

A checkpoint holds tensors and plain values only. It is written whole or not at all, and the last two are kept.
"""

import contextlib
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch

from engine.description import DEVICE_SETTINGS, Plain, differences
from engine.steps import Trainer
from machine.files import DataError, first_line, remove_leftovers, replacing


@dataclasses.dataclass
class Progress:
    """What lies behind a run: whole chunks, the steps of the chunk it is in, and their errors."""

    chunk: int = 0
    errors: list[float] = dataclasses.field(default_factory=list)
    losses_train: list[float] = dataclasses.field(default_factory=list)
    losses_valid: dict[int, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class Store:
    """The checkpoints of one run; `identity` is what another run must have in common with it to go on from one."""

    KEPT = 2

    def __init__(self, folder: Path, identity: dict[str, Plain]):
        self.folder, self.identity = folder, json.loads(json.dumps(identity))

    def paths(self) -> list[Path]:
        """Return the checkpoints from the oldest to the newest."""
        return sorted(self.folder.glob("*.pt"))

    def path(self, progress: Progress) -> Path:
        """Return the checkpoint of a run that is so far."""
        return self.folder / f"{progress.chunk:06d}-{len(progress.errors):06d}.pt"

    def save(self, progress: Progress, trainer: Trainer) -> Path:
        """Write a checkpoint and remove all but the last two."""
        path, average = self.path(progress), trainer.average
        state = {
            "identity": json.dumps(self.identity),
            "progress": dataclasses.asdict(progress),
            "parameters": [param.detach() for param in trainer.network.parameters],
            "state": list(trainer.network.state),
            "optimizer": trainer.optimizer.state_dict(),
            "average": None if average is None else {"values": average.values, "num_updates": average.num_updates},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "threads": torch.get_num_threads(),
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # which is how torch tells of a file that can not be written to
                raise OSError(getattr(error.__context__, "strerror", None) or first_line(error)) from error
        for old in self.paths()[: -self.KEPT]:
            old.unlink()
        return path

    def restore(self, trainer: Trainer) -> Progress:
        """Bring a trainer and the random generators to the newest checkpoint, where there is one.

        Raises DataError when it is damaged, or of a run that differs from this one.
        """
        self._tidy()
        if not self.paths():
            return Progress()
        path = self.paths()[-1]
        state, progress = self._read(path)
        with torch.no_grad():
            ours = (*trainer.network.parameters, *trainer.network.state)
            for each, value in zip(ours, (*state["parameters"], *state["state"]), strict=True):
                each.copy_(value)
            if trainer.average is not None:
                for each, value in zip(trainer.average.values, state["average"]["values"], strict=True):
                    each.copy_(value)
                trainer.average.num_updates = state["average"]["num_updates"]
        for group, ours in zip(state["optimizer"]["param_groups"], trainer.optimizer.param_groups, strict=True):
            # What bears on the device is this run's; the other one may have been another's.
            group |= {name: ours[name] for name in DEVICE_SETTINGS if name in ours}
            group["lr"] = float(group["lr"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        for device, random in zip(range(torch.cuda.device_count()), state["random_cuda"], strict=False):
            torch.cuda.set_rng_state(random, device)
        print(f"going on from {path}: {progress.chunk} chunks and {len(progress.errors)} steps done")
        threads = torch.get_num_threads()
        if threads != state["threads"]:
            print(f"threads: {state['threads']} until then, {threads} from now; on the CPU, last digits depend on that")
        return progress

    def _read(self, path: Path) -> tuple[dict, Progress]:
        """Read a checkpoint of a run that is this one's."""
        hint = "run with --no-resume to start anew"
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            identity, progress = json.loads(state["identity"]), Progress(**state["progress"])
        except Exception as error:  # a damaged file can raise anything
            raise DataError(f"checkpoint {path} can not be read ({first_line(error)}); remove it, or {hint}") from None
        if found := differences(identity, self.identity):
            more = f", and {len(found) - 3} more" if len(found) > 3 else ""
            raise DataError(
                f"checkpoint {path} is of a run that differs in {', '.join(found[:3])}{more}; {hint}, or rename the "
                "script, whose name is the experiment's"
            )
        return state, progress

    def clear(self) -> None:
        """Remove the checkpoints of a run that is finished."""
        for path in self.paths():
            path.unlink()
        self._tidy()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _tidy(self) -> None:
        remove_leftovers(self.folder / "*.pt")


class PredictionStore:
    """The rows of an unfinished file of predictions, beside it; `identity` is a checksum of what they depend on.

    Used as a context, it keeps whatever rows there are when an error or a signal ends the block.
    """

    # Seconds of work that an interruption may cost.
    INTERVAL = 20.0

    def __init__(self, product: Path, identity: str):
        self.path = product.with_name(product.name.removesuffix(".npy.gz") + ".partial.npz")
        self.identity, self.saved = identity, time.monotonic()
        self.unsaved: np.ndarray | None = None
        remove_leftovers(product, self.path)

    def __enter__(self) -> "PredictionStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(DataError):  # the error that there is says more
                self._write()

    def restore(self) -> np.ndarray | None:
        """Return the rows that are done, (n, 37) float32; None where there are none, or of other predictions."""
        try:
            with np.load(self.path, allow_pickle=False) as state:
                identity, rows = str(state["identity"]), state["rows"]
        except Exception:  # a damaged file can raise anything; what it holds can be made again
            return None
        if identity != self.identity:
            return None
        print(f"going on from {self.path}: {len(rows)} rows done")
        return rows

    def save(self, rows: np.ndarray) -> None:
        """Write the rows that are done, where the last time is long enough ago."""
        self.unsaved = rows
        if time.monotonic() - self.saved >= self.INTERVAL:
            self._write()

    def _write(self) -> None:
        if self.unsaved is None:
            return
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, identity=np.array(self.identity), rows=self.unsaved)
        self.saved, self.unsaved = time.monotonic(), None

    def clear(self) -> None:
        """Remove the rows: their file is finished."""
        self.unsaved = None
        self.path.unlink(missing_ok=True)
