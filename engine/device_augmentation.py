"""Augmentation in the accelerator's memory: the same draws as on the CPU, and the same views up to rounding.

Images are uint8 tensors. All images stay on the device if there is room. Otherwise worker processes decode the images
of each chunk, and they are streamed to the device. Views are sampled by gathering the four pixels around each position.

Source: documentation of 2014, 2.1 and 3.2.2. Tests compare these views with those of `survey.chunk_workers`.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from skimage.transform import AffineTransform
from torch import Tensor

from galaxy.image_geometry import IMAGE_SHAPE
from survey import images
from survey.chunk_workers import Layout, Plan, Workers, make_chunks
from survey.decoded_cache import load_pixels
from survey.draws import Draw
from survey.views import Views

# Images per copy to the device, and views per sampling: they bound the scratch memory.
IMAGES_A_PIECE, _VIEWS = 256, 1024
# The fraction of the device's free memory for images; training needs the rest.
_MEMORY_SHARE = 0.7


def _mirrored(position: Tensor, size: int) -> Tensor:
    """Mirror positions at the centres of the border's pixels into 0..size-1."""
    last = size - 1
    return last - (position.remainder(2 * last) - last).abs()


def sample(images: Tensor, which: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample views (m, rows, columns, 3) float32 in [0, 1] of images (n, height, width, 3) uint8, bilinearly.

    View i shows image which[i]; matrices (m, 2, 3) float32 map the view's pixels (x, y, 1) to the image's.
    """
    _, height, width, _ = images.shape
    pixels = images.view(-1, 3)
    rows, columns = size
    y, x = (torch.arange(length, dtype=torch.float32, device=images.device) for length in size)
    # Not a matrix product, which would round positions to TF32.
    (a, b, c), (d, e, f) = (row.unsqueeze(-1).unsqueeze(-1).unbind(1) for row in matrices.unbind(1))
    across = _mirrored(a * x + (b * y[:, None] + c), width)
    down = _mirrored(d * x + (e * y[:, None] + f), height)
    left, top = across.floor().clamp_(max=width - 2), down.floor().clamp_(max=height - 2)
    across, down = (across - left).unsqueeze(-1), (down - top).unsqueeze(-1)
    first = (which.view(-1, 1, 1) * height + top.long()) * width + left.long()
    upper = torch.lerp(pixels[first].float(), pixels[first + 1].float(), across)
    lower = torch.lerp(pixels[first + width].float(), pixels[first + width + 1].float(), across)
    return torch.lerp(upper, lower, down).mul_(1 / 255).view(len(which), rows, columns, 3)


def _send(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the device; from pinned memory on CUDA, so that the copy does not wait for queued steps."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Images:
    """The pixels of a subset, on the device or streamed to it."""

    def __init__(
        self,
        subset: str,
        device: torch.device,
        num_workers: int | None = None,
        resident: bool | None = None,
        left_out: Collection[int] = (),
    ):
        """Load all images if `resident`; by default if the device is an accelerator with room for them.

        Images with an index in `left_out` are black and not read.
        """
        self.subset, self.device = subset, device
        self.workers = Workers(num_workers, reuse_buffers=True)
        num = len(images.ids_of(subset))
        if resident is None:
            resident = device.type == "cuda" and self._has_room(num)
        self.all = self._load_all(num, left_out) if resident else None

    def _has_room(self, num: int) -> bool:
        needed = num * int(np.prod(IMAGE_SHAPE))
        free, _ = torch.cuda.mem_get_info(self.device)
        if needed < _MEMORY_SHARE * free:
            return True
        print(
            f"{self.device} has {free / 1e9:.1f} GB free, and the {num} {self.subset} images need "
            f"{needed / 1e9:.1f} GB: each chunk decodes its images again, which is several times slower"
        )
        return False

    def _load_all(self, num: int, left_out: Collection[int]) -> Tensor:
        pixels = torch.zeros((num, *IMAGE_SHAPE), dtype=torch.uint8, device=self.device)
        wanted = np.setdiff1d(np.arange(num), np.fromiter(left_out, dtype=int))
        for piece, indices in self._stream(iter(np.split(wanted, range(IMAGES_A_PIECE, len(wanted), IMAGES_A_PIECE)))):
            pixels[_send(indices, self.device)] = piece
        return pixels

    def _stream(self, pieces: Iterator[Plan]) -> Iterator[tuple[Tensor, Plan]]:
        layout = Layout(IMAGES_A_PIECE, [IMAGE_SHAPE], dtype=np.uint8)
        for (pixels,), piece in make_chunks(partial(_load_piece, self.subset), pieces, layout, self.workers):
            yield _send(pixels[: len(piece)], self.device), piece

    def follow(self, pieces: Iterator[Plan]) -> Iterator[tuple[Tensor, Tensor, Plan]]:
        """Yield for each piece (IMAGES_A_PIECE) of a plan: images, the piece's rows among them, and the piece."""
        if self.all is None:
            for pixels, piece in self._stream(pieces):
                yield pixels, torch.arange(len(pixels), device=self.device), piece
        else:
            for piece in pieces:
                yield self.all, _send(_indices(piece), self.device), piece

    def views(
        self, pixels: Tensor, rows: Tensor, matrices: np.ndarray, sizes: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """Sample the views of images under matrices (n, transforms, views, 3, 3): per view (n * transforms, ...)."""
        rows = rows.repeat_interleave(matrices.shape[1])
        on_device = _send(matrices[..., :2, :].astype(np.float32), self.device).flatten(0, 1)
        views = []
        for size, of_view in zip(sizes, on_device.unbind(1), strict=True):
            pieces = zip(rows.split(_VIEWS), of_view.split(_VIEWS), strict=True)
            views.append(torch.cat([sample(pixels, which, piece, size) for which, piece in pieces]))
        return views


def _indices(piece: Plan) -> np.ndarray:
    return piece.indices if isinstance(piece, Draw) else piece


def _load_piece(subset: str, outs: Sequence[np.ndarray], piece: Plan) -> None:
    for out, index in zip(outs[0], _indices(piece), strict=True):
        out[:] = load_pixels(index, subset)


def add_colour(views: Sequence[Tensor], noise: Tensor) -> None:
    """Add colour noise (n, 3), one draw per image, to all its views (n, rows, columns, 3); clip to [0, 1]."""
    for view in views:
        view.add_(noise[:, None, None, :]).clamp_(0, 1)


def _pieces(draw: Draw) -> Iterator[Draw]:
    for first in range(0, len(draw), IMAGES_A_PIECE):
        yield draw[first : first + IMAGES_A_PIECE]


def drawn_chunks(
    images: Images, views: Views, draws: Iterator[Draw], chunk_size: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield the views (chunk_size, rows, columns, 3) of each draw, and the indices of its images (chunk_size,)."""
    chunk: list[Tensor] = []
    row = 0
    for pixels, rows, piece in images.follow(piece for draw in draws for piece in _pieces(draw)):
        matrices = views.matrices(piece.indices, images.subset, piece.perturbations)
        arrays = images.views(pixels, rows, matrices, views.target_sizes)
        if piece.colour is not None:
            add_colour(arrays, _send(piece.colour, images.device))
        arrays.append(_send(piece.indices, images.device))
        if not chunk:
            chunk = [array.new_empty((chunk_size, *array.shape[1:])) for array in arrays]
        for whole, array in zip(chunk, arrays, strict=True):
            whole[row : row + len(array)] = array
        row += len(piece)
        if row == chunk_size:
            *made, indices = chunk
            yield made, indices
            chunk, row = [], 0


def fixed_chunks(
    images: Images, views: Views, indices: np.ndarray, transforms: Sequence[AffineTransform], chunk_size: int
) -> Iterator[tuple[list[Tensor], int]]:
    """Yield views and their number of rows, all transforms of an image together; a chunk holds whole images."""
    perturbations = np.stack([tform.params for tform in transforms])[None]
    step = min(IMAGES_A_PIECE, chunk_size // len(transforms))
    plan = (indices[first : first + step] for first in range(0, len(indices), step))
    for pixels, rows, piece in images.follow(plan):
        matrices = views.matrices(piece, images.subset, perturbations)
        made = images.views(pixels, rows, matrices, views.target_sizes)
        yield made, len(made[0])
