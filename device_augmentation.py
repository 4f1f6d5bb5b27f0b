"""The same augmentation for images in the accelerator's memory: the same draws, and the same views to rounding.

Images are uint8 tensors. They stay on the device where there is room for all of them; otherwise those of a chunk are
streamed there, decoded by worker processes. Views are sampled by gathering the four pixels about each position.

Source: documentation of 2014, 2.1 and 3.2.2; `realtime_augmentation` is what these views are measured against.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform
from torch import Tensor

import load_data
import realtime_augmentation as ra
from chunk_workers import make_chunks

# Images that travel to the device at a time, and views that are sampled at a time: what bounds scratch memory.
_PIECE, _VIEWS = 256, 1024
# The part of the device's free memory that images may take, so that training has the rest.
_MEMORY_SHARE = 0.7


def supports(processor_class: type) -> bool:
    """Say whether a processor changes no more than where the galaxy lies, which is all that is done here."""
    return all(getattr(processor_class, name) is getattr(ra.LoadAndProcess, name) for name in ("load", "warp", "write"))


def _mirrored(position: Tensor, size: int) -> Tensor:
    """Bring positions into 0..size-1, mirrored at the centres of the border's pixels."""
    last = size - 1
    return last - (position.remainder(2 * last) - last).abs()


def sample(images: Tensor, which: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample views (m, rows, columns, 3) float32 in [0, 1] of images (n, height, width, 3) uint8.

    View i is of image which[i]; matrices (m, 2, 3) float32 map its pixels (x, y, 1) to those of the image.
    """
    _, height, width, _ = images.shape
    pixels = images.view(-1, 3)
    rows, columns = size
    y, x = (torch.arange(length, dtype=torch.float32, device=images.device) for length in size)
    # No matrix product: it would round positions to TF32.
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
    """Copy an array to the device; from pinned memory, so that nothing waits for the steps that are still queued."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Images:
    """The pixels of a subset, on the device or on their way to it."""

    def __init__(
        self,
        subset: str,
        device: torch.device,
        num_workers: int | None = None,
        from_ram: bool = False,
        resident: bool | None = None,
    ):
        """Load all images where `resident`; by default, where the device is an accelerator with room for them."""
        self.subset, self.device = subset, device
        self.processor = ra.LoadAndProcess([], {}, [], from_ram)
        self.num_workers = num_workers
        num = len(load_data.load_ids(subset))
        if resident is None:
            resident = device.type == "cuda" and self._has_room(num)
        self.all = self._load_all(num) if resident else None

    def _has_room(self, num: int) -> bool:
        free, _ = torch.cuda.mem_get_info(self.device)
        return num * int(np.prod(load_data.IMAGE_SHAPE)) < _MEMORY_SHARE * free

    def _load_all(self, num: int) -> Tensor:
        images = torch.empty((num, *load_data.IMAGE_SHAPE), dtype=torch.uint8, device=self.device)
        for pixels, (indices,) in self._stream(
            iter((each,) for each in np.split(np.arange(num), range(_PIECE, num, _PIECE)))
        ):
            images[int(indices[0]) : int(indices[-1]) + 1] = pixels
        return images

    def _stream(self, plan: Iterator[tuple]) -> Iterator[tuple[Tensor, tuple]]:
        shapes = [load_data.IMAGE_SHAPE]
        chunks = make_chunks(
            self._write, plan, _PIECE, shapes, 1, self.num_workers, None, reuse_buffers=True, dtype=np.uint8
        )
        for (pixels,), about in chunks:
            yield _send(pixels[: len(about[0])], self.device), about

    def _write(self, outs: Sequence[np.ndarray], indices: np.ndarray, *_: object) -> None:
        for out, img_index in zip(outs[0], indices, strict=True):
            out[:] = self.processor.load(img_index, self.subset)

    def __getstate__(self) -> dict:
        """Travel to the workers without the pixels."""
        return {**self.__dict__, "all": None}

    def follow(self, plan: Iterator[tuple]) -> Iterator[tuple[Tensor, Tensor, tuple]]:
        """Yield what holds the images of each piece of a plan, their rows there, and the piece.

        A piece is a tuple of arrays with a row for each image; the first are their indices, `_PIECE` at most.
        """
        if self.all is None:
            for pixels, about in self._stream(plan):
                yield pixels, torch.arange(len(pixels), device=self.device), about
        else:
            for about in plan:
                yield self.all, _send(about[0], self.device), about

    def views(
        self, pixels: Tensor, rows: Tensor, matrices: np.ndarray, sizes: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """Sample the views of images under matrices (n, transforms, views, 3, 3) -> (n * transforms, ...) a view."""
        rows = rows.repeat_interleave(matrices.shape[1])
        on_device = _send(matrices[..., :2, :].astype(np.float32), self.device).flatten(0, 1)
        views = []
        for size, of_view in zip(sizes, on_device.unbind(1), strict=True):
            some = zip(rows.split(_VIEWS), of_view.split(_VIEWS), strict=True)
            views.append(torch.cat([sample(pixels, which, each, size) for which, each in some]))
        return views


def add_colour(views: Sequence[Tensor], noise: Tensor) -> None:
    """Add colour noise (n, 3) to views (n, rows, columns, 3), one draw an image for all its views, clip to [0, 1]."""
    for view in views:
        view.add_(noise[:, None, None, :]).clamp_(0, 1)


def _pieces(about: tuple[np.ndarray | None, ...]) -> Iterator[tuple[np.ndarray | None, ...]]:
    for first in range(0, len(about[0]), _PIECE):
        yield tuple(each if each is None else each[first : first + _PIECE] for each in about)


def realtime_augmented_data_gen(
    images: Images,
    num_chunks: int | None,
    chunk_size: int,
    augmentation_params: dict,
    ds_transforms: Sequence[AffineTransform],
    target_sizes: Sequence[tuple[int, int]],
    processor_class: type[ra.LoadAndProcess] = ra.LoadAndProcess,
    *,
    colour_std: float = 0.0,
    seed: int = 0,
    first_chunk: int = 0,
    indices: np.ndarray | None = None,
) -> Iterator[tuple[list[Tensor], int]]:
    """Yield what the generator of that name in `realtime_augmentation` does for the same seed, as tensors."""
    if indices is None:
        indices, _ = load_data.split(load_data.num_train)
    labels = _send(load_data.load_solutions(), images.device)
    processor = processor_class(ds_transforms, augmentation_params, target_sizes)
    numbers = itertools.count(first_chunk) if num_chunks is None else range(first_chunk, first_chunk + num_chunks)
    draws = ra.draw_chunks(numbers, indices, chunk_size, augmentation_params, colour_std, seed)
    plan = (piece for draw in draws for piece in _pieces(draw))

    chunk: list[Tensor] = []
    row = 0
    for pixels, rows, (drawn, perturbations, noise) in images.follow(plan):
        matrices = processor.matrices(drawn, images.subset, perturbations)
        views = images.views(pixels, rows, matrices, target_sizes)
        if noise is not None:
            add_colour(views, _send(noise, images.device))
        arrays = [*views, labels[_send(drawn, images.device)]]
        if not chunk:
            chunk = [array.new_empty((chunk_size, *array.shape[1:])) for array in arrays]
        for whole, array in zip(chunk, arrays, strict=True):
            whole[row : row + len(array)] = array
        row += len(drawn)
        if row == chunk_size:
            yield chunk, chunk_size
            chunk, row = [], 0


def realtime_fixed_augmented_data_gen(
    images: Images,
    selected_indices: np.ndarray,
    ds_transforms: Sequence[AffineTransform],
    augmentation_transforms: Sequence[AffineTransform],
    chunk_size: int,
    target_sizes: Sequence[tuple[int, int]],
    processor_class: type[ra.LoadAndProcessFixed] = ra.LoadAndProcessFixed,
) -> Iterator[tuple[list[Tensor], int]]:
    """Yield (views, number of rows), all transforms of an image together; a chunk holds whole images, none of zeros."""
    perturbations = np.stack([tform.params for tform in augmentation_transforms])
    processor = processor_class(ds_transforms, augmentation_transforms, target_sizes)
    step = min(_PIECE, chunk_size // len(perturbations))
    plan = ((selected_indices[first : first + step],) for first in range(0, len(selected_indices), step))
    for pixels, rows, (indices,) in images.follow(plan):
        matrices = processor.matrices(indices, images.subset, perturbations[None])
        views = images.views(pixels, rows, matrices, target_sizes)
        yield views, len(views[0])
