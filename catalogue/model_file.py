"""Load and run a trained network as an ONNX file, without the library that trained it.

A file from any source is validated first (`catalogue.graph_checks`), and predicts one image in a process with limits of
memory and time. Each later image has the same shapes, and takes the same memory.

Source: ONNX; ONNX Runtime.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import onnxruntime

from catalogue import card as cards
from catalogue.card import Card
from catalogue.framing import Frame
from catalogue.graph_checks import CONCENTRATIONS, FEATURES, HINT, OUTPUTS, validate
from galaxy.image_geometry import CENTRE, place_matrices
from galaxy.warping import touched_parts, warp_views
from machine.cores import available_cores
from machine.files import DataError, first_line, open_file
from machine.limited import LimitError, limited
from machine.onnx_runtime import session_options

MAX_BYTES = 2**30
# Of a trial run of an unknown model with one image: memory beside four times its file, and processor time.
TRIAL_BYTES, TRIAL_SECONDS = 5 * 2**27, 20
# Checksums of the models that come with the project.
_KNOWN = Path(__file__).resolve().parents[1] / "models" / "SHA256SUMS"


@dataclass(frozen=True)
class Answers:
    """The answers of a model for n images.

    Weighted votes (n, answers), those of each transform (n, transforms, answers), distances to training images (n,).
    `concentrations` (n, answers) are those of a model of counts, averaged over transforms.
    `features` (n, k) are those along the main directions; the first has unit variance over the training images.
    """

    predictions: np.ndarray
    by_transform: np.ndarray
    distances: np.ndarray
    features: np.ndarray | None = None
    concentrations: np.ndarray | None = None

    @classmethod
    def concatenated(cls, answers: Sequence["Answers"]) -> "Answers":
        """Return the answers for all images of several calls, in order."""
        names = [each.name for each in fields(cls) if getattr(answers[0], each.name) is not None]
        return cls(**{name: np.concatenate([getattr(each, name) for each in answers]) for name in names})


class Model:
    """A validated model file, ready to predict."""

    def __init__(self, path: Path, threads: int | None = None, views: int | None = None):
        """Load a file and its card; raises DataError, in one line, unless it is a model of this project.

        `views` of its transforms are used, the first ones; None: as many as its card says.
        """
        self.path = path
        with open_file(path, HINT) as file:
            # Not more than the file has: a read reserves the bytes that it asks for.
            content = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES:,} bytes; {HINT}")
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._compare_with_sidecar()
        try:
            card = _card_of(content, self.sha256)
            self._session = _session(content, threads or available_cores())
            self.card = card or cards.from_json(self._session.get_modelmeta().custom_metadata_map[cards.KEY])
        except DataError as error:
            raise DataError(f"{path} cannot be used: {error}") from None
        except Exception as error:  # ONNX Runtime has no common exception
            raise DataError(f"{path} cannot be used ({first_line(error)}); {HINT}") from None

        outputs = {each.name: each.shape for each in self._session.get_outputs()}
        # Number of features of an image; 0 if the model returns none.
        self.num_features: int = outputs[FEATURES][1] if FEATURES in outputs else 0
        # Whether the model returns the concentrations of Dirichlet distributions.
        self.has_concentrations = CONCENTRATIONS in outputs
        self.num_views = self.card.num_views if views is None else views
        num = len(self.card.test_transforms)
        if not 1 <= self.num_views <= num:
            raise DataError(f"expected --views from 1 to {num} for {path}, got {views}; choose such a number")
        if self.num_views != num and not self._takes_any_number:
            raise DataError(f"{path} takes {num} views only, got --views {views}; leave --views out")

    @property
    def _takes_any_number(self) -> bool:
        return not isinstance(self._session.get_inputs()[0].shape[1], int)

    @property
    def num_averaged(self) -> int:
        """Number of transforms of which predictions are the mean."""
        return self.num_views if self._takes_any_number else self.card.num_averaged

    @property
    def files(self) -> tuple[Path, Path]:
        """The file, and the card beside it."""
        return self.path, self.path.with_suffix(".json")

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.card.name

    def _compare_with_sidecar(self) -> None:
        beside = self.path.with_suffix(".json")
        try:
            noted = None
            if beside.is_file() and beside.stat().st_size <= cards.MAX_BYTES:
                noted = json.loads(beside.read_text()).get("sha256")
        except (OSError, ValueError, AttributeError, RecursionError):
            noted = None
        if noted is not None and noted != self.sha256:
            raise DataError(f"{self.path}: expected the checksum in {beside.name}, got another; {HINT}")

    def views(self, frame: Frame) -> list[np.ndarray]:
        """Return the views of a framed galaxy: arrays (transforms, rows, columns, 3) of the card's sizes."""
        card = self.card
        matrices = self._matrices(frame.frame_to_image, frame.target_radius)
        [region] = touched_parts(matrices[None], card.target_sizes, frame.pixels.shape)
        outs = [np.empty((self.num_views, *size, 3), np.float32) for size in card.target_sizes]
        warp_views(frame.pixels, region.tolist(), matrices, outs)
        return outs

    def _matrices(self, frame_to_image: np.ndarray, target_radius: float) -> np.ndarray:
        """Return the matrices (transforms, views, 3, 3) from pixels of the views to those of a frame."""
        card = self.card
        # Several models share a frame, which has the radius of the first one.
        if np.isfinite(target_radius) and target_radius != card.framing_radius:
            frame_to_image = frame_to_image @ place_matrices(CENTRE, CENTRE, card.framing_radius / target_radius)
        return (frame_to_image @ card.test_transforms[: self.num_views])[:, None] @ card.ds_transforms

    def reach(self, target_radius: float) -> float:
        """Return the farthest that views reach from the middle of a frame, in x or y, pixels of 424."""
        matrices = self._matrices(np.eye(3), target_radius)
        corners = np.array(
            [[(0, 0, 1), (0, y, 1), (x, 0, 1), (x, y, 1)] for y, x in np.array(self.card.target_sizes) - 1]
        )
        reached = np.einsum("tvij,vcj->tvci", matrices[..., :2, :], corners)
        return float(np.abs(reached - CENTRE).max())

    def predict(self, frames: list[Frame]) -> Answers:
        """Predict framed galaxies in one call of the network; raises DataError if the network fails."""
        views = [np.stack(batch) for batch in zip(*map(self.views, frames), strict=True)]
        feeds = {f"pixels_{index}": view for index, view in enumerate(views)}
        try:
            names = [*OUTPUTS, *([FEATURES] if self.num_features else [])]
            names += [CONCENTRATIONS] if self.has_concentrations else []
            values = dict(zip(names, self._session.run(names, feeds), strict=True))
            answers = Answers(*(values.get(name) for name in (*OUTPUTS, FEATURES, CONCENTRATIONS)))
            if self.num_features:
                np.reshape(answers.features, (len(frames), self.num_features))
            return answers
        except Exception as error:
            raise DataError(f"{self.path} cannot predict ({first_line(error)}); {HINT}") from None


# Cards of the models that this process has tried, by checksum.
_tried: dict[str, Card] = {}


def _card_of(content: bytes, sha256: str) -> Card | None:
    """Return the card of an unknown model, after its trial; None for a known one. Raises DataError."""
    if sha256 not in _tried and not _is_known(sha256):
        num_bytes = TRIAL_BYTES + 4 * len(content)
        try:
            _tried[sha256] = limited(_try_out, content, num_bytes=num_bytes, seconds=TRIAL_SECONDS)
        except LimitError as error:
            raise DataError(f"for one image {error}; {HINT}") from None
    return _tried.get(sha256)


def _is_known(sha256: str) -> bool:
    try:
        return sha256 in _KNOWN.read_text().split()
    except OSError:
        return False


def _try_out(content: bytes) -> Card:
    """Validate a model, let it predict a black image, and return its card; raises DataError."""
    card = validate(content)
    session = _session(content, 1)
    num = len(card.test_transforms)
    feeds = {
        f"pixels_{index}": np.zeros((1, num, *size, 3), np.float32) for index, size in enumerate(card.target_sizes)
    }
    answers = session.run([*OUTPUTS, *(each.name for each in session.get_outputs() if each.name == FEATURES)], feeds)
    shapes = [answer.shape for answer in answers[: len(OUTPUTS)]]
    num_answers = card.tree.num_answers
    expected = [(1, num_answers), (1, card.num_averaged, num_answers), (1,)]
    if shapes != expected:
        raise DataError(f"expected answers of shapes {expected}, got {shapes}; {HINT}")
    return card


def _session(content: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = session_options()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads yield the cores to the processes that read images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
