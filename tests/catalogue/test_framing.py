"""The galaxy in the middle is found, and brought to the size that networks were trained on."""

import cv2
import numpy as np
import pytest
from tiny import draw_blob

from catalogue import framing
from galaxy.pictures import Picture
from galaxy.warping import touched_parts, warp_views

RADIUS = 120.0


def picture(pixels: np.ndarray, **facts: object) -> Picture:
    saturated = (pixels == 255).any(axis=2) if pixels.dtype == np.uint8 else np.zeros(pixels.shape[:2], bool)
    return Picture(np.ascontiguousarray(pixels), saturated, "PNG", pixels.shape[:2], **facts)


def blob(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1.5, (424, 424, 3))
    return np.clip(draw_blob(rng) + 6 + noise, 0, 255).round().astype(np.uint8)


def moved(pixels: np.ndarray, scale: float, shift: tuple[float, float], sky: int | None) -> np.ndarray:
    """Return an image enlarged and shifted (in sides), on a sky of that colour or mirrored at its borders."""
    side = round(424 * scale)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(pixels, (side, side), interpolation=interpolation)
    matrix = np.float32([[1, 0, shift[0] * side], [0, 1, shift[1] * side]])
    border = cv2.BORDER_REFLECT_101 if sky is None else cv2.BORDER_CONSTANT
    return cv2.warpAffine(image, matrix, (side, side), borderMode=border, borderValue=[sky or 0] * 3)


def view_of(frame: framing.Frame, side: int = 53, step: float = 4.0) -> np.ndarray:
    """Return the middle of a frame as a network sees it, (side, side, 3) from 0 to 1."""
    start = 211.5 - step * (side - 1) / 2
    matrix = frame.frame_to_image @ np.array([[step, 0, start], [0, step, start], [0, 0, 1]])
    out = np.empty((1, side, side, 3), np.float32)
    [part] = touched_parts(matrix[None, None, None], [(side, side)], frame.pixels.shape)
    warp_views(frame.pixels, part.tolist(), matrix[None, None], [out])
    return out[0]


@pytest.mark.parametrize("scale", [0.3, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("sky", [None, 0, 7])
def test_scales_shifts_and_padding_are_undone(scale: float, sky: int | None):
    for seed in range(3):
        image = blob(seed)
        untouched = framing.frame(picture(image), "auto", RADIUS)
        shift = tuple(np.random.default_rng(seed).uniform(-0.18, 0.18, 2))
        found = framing.frame(picture(moved(image, scale, shift, sky)), "auto", RADIUS)
        side = round(424 * scale)
        expected = [
            (place + 0.5) * scale - 0.5 + s * side for place, s in zip((untouched.x, untouched.y), shift, strict=True)
        ]
        assert np.hypot(found.x - expected[0], found.y - expected[1]) < 2 * scale
        assert found.scale * scale == pytest.approx(untouched.scale, rel=0.15)
        assert np.abs(view_of(found) - view_of(untouched)).mean() < 0.02


def test_a_galaxy_is_brought_to_the_radius_of_training():
    for radius in (80.0, 160.0):
        frame = framing.frame(picture(blob()), "auto", radius)
        assert frame.scale * frame.radius == pytest.approx(radius)
        pixels = (view_of(frame, side=424, step=1.0) * 255).round().astype(np.uint8)
        again, _ = framing.measure(picture(pixels))
        assert again.radius == pytest.approx(radius, rel=0.12)
        assert abs(again.x - 211.5) < 2 and abs(again.y - 211.5) < 2


def test_sdss_takes_images_of_its_size_as_they_are():
    image = blob()
    frame = framing.frame(picture(image), "sdss", RADIUS)
    assert frame.pixels is not None and np.array_equal(frame.pixels, image)
    np.testing.assert_array_equal(frame.frame_to_image, np.eye(3))
    assert (frame.x, frame.y, frame.scale) == (211.5, 211.5, 1.0)


def test_sdss_takes_the_middle_of_images_of_other_sizes():
    image = cv2.resize(blob(), (848, 848), interpolation=cv2.INTER_CUBIC)
    wide = np.concatenate([np.zeros((848, 200, 3), np.uint8), image, np.zeros((848, 200, 3), np.uint8)], axis=1)
    frame = framing.frame(picture(wide), "sdss", RADIUS)
    assert frame.scale == 0.5 and (frame.x, frame.y) == (623.5, 423.5)
    assert np.abs(view_of(frame) - view_of(framing.frame(picture(blob()), "sdss", RADIUS))).mean() < 0.02


def test_positions_are_in_pixels_of_the_file():
    image = blob()
    one = framing.frame(picture(image), "auto", RADIUS)
    reduced = framing.frame(picture(image, reduction=4), "auto", RADIUS)
    assert reduced.x == (one.x + 0.5) * 4 - 0.5 and reduced.radius == one.radius * 4
    assert reduced.scale == one.scale / 4


def test_neighbours_do_not_count():
    image = blob()
    alone = framing.frame(picture(image), "auto", RADIUS)
    crowded = image.copy()
    for place in ((40, 50), (380, 60), (60, 390), (390, 390)):
        cv2.circle(crowded, place, 12, (220, 220, 220), -1)
    among = framing.frame(picture(crowded), "auto", RADIUS)
    assert np.hypot(among.x - alone.x, among.y - alone.y) < 2
    assert among.scale == pytest.approx(alone.scale, rel=0.1)
    assert not among.flags & framing.SEVERAL


def test_flags_say_what_to_beware_of():
    def flags(image: np.ndarray, **facts: object) -> int:
        return framing.frame(picture(image, **facts), "auto", RADIUS).flags

    image = blob()
    assert flags(image) == 0
    assert flags(moved(image, 0.15, (0, 0), None)) == framing.SMALL
    assert flags(np.zeros_like(image)) & framing.NO_OBJECT
    assert flags(np.full_like(image, 9)) & framing.NO_OBJECT
    assert flags(image[:, 211:]) & framing.BORDER
    cut = np.ascontiguousarray(image)
    cut[200:224, 200:224] = 255
    assert flags(cut) & framing.SATURATED
    pair = np.maximum(np.roll(image, -60, axis=1), np.roll(image[::-1], 60, axis=1))
    assert flags(pair) & framing.SEVERAL


@pytest.mark.parametrize("kind", ["noise", "white", "checks", "one pixel", "gradient", "float zeros", "tiny", "strip"])
def test_any_pixels_have_a_frame(kind: str):
    rng = np.random.default_rng(0)
    pixels = {
        "noise": rng.integers(0, 255, (500, 300, 3), np.uint8),
        "white": np.full((424, 424, 3), 255, np.uint8),
        "checks": np.tile(np.uint8([[0, 255], [255, 0]]), (150, 150))[..., None].repeat(3, axis=2),
        "one pixel": np.pad(np.full((1, 1, 3), 255, np.uint8), ((100, 100), (100, 100), (0, 0))),
        "gradient": np.linspace(0, 1, 300, dtype=np.float32)[:, None, None] * np.ones((1, 200, 3), np.float32),
        "float zeros": np.zeros((100, 100, 3), np.float32),
        "tiny": rng.integers(0, 9, (30, 30, 3), np.uint8),
        "strip": rng.integers(0, 99, (30, 3000, 3), np.uint8),
    }[kind]
    for choice in framing.CHOICES:
        frame = framing.frame(picture(pixels), choice, RADIUS)
        assert frame.pixels.nbytes < 10**8 and np.isfinite(frame.frame_to_image).all() and frame.scale > 0
        assert np.isfinite(view_of(frame)).all()


def test_views_of_a_frame_are_those_that_training_saw():
    image = blob()
    frame = framing.frame(picture(image), "sdss", RADIUS)
    out = np.empty((1, 53, 53, 3), np.float32)
    matrix = np.array([[4.0, 0, 211.5 - 4 * 26], [0, 4.0, 211.5 - 4 * 26], [0, 0, 1]])[None, None]
    warp_views(image, touched_parts(matrix[None], [(53, 53)])[0].tolist(), matrix, [out])
    np.testing.assert_array_equal(view_of(frame), out[0])


def test_the_object_in_the_middle_is_chosen_unless_another_is_much_larger():
    """Salience is the area times a Gaussian prior of 0.12 sides, as stated in `catalogue.framing`."""
    y, x = np.mgrid[:424, :424].astype(np.float32)

    def chosen(sigma: float, distance: float) -> float:
        image = 150 * np.exp(-(np.hypot(x - 211.5, y - 211.5) ** 2) / (2 * 10**2))
        image += 150 * np.exp(-(np.hypot(x - 211.5 - distance, y - 211.5) ** 2) / (2 * sigma**2))
        grey = np.clip(image + 6, 0, 255).round().astype(np.uint8)
        measurement, _ = framing.measure(picture(np.repeat(grey[..., None], 3, axis=2)))
        return measurement.x - 211.5

    # Of two objects, the area of the second is 4 times that of the first: the prior outweighs it beyond 85 pixels.
    assert chosen(20, 150) == pytest.approx(0, abs=1)
    assert chosen(20, 75) == pytest.approx(75, abs=1)
    assert chosen(10, 75) == pytest.approx(0, abs=1)


@pytest.mark.parametrize(("ratio", "expected"), [(0.15, False), (0.4, True)])
def test_a_companion_counts_from_a_quarter_of_the_flux(ratio: float, expected: bool):
    y, x = np.mgrid[:424, :424].astype(np.float32)
    image = 180 * np.exp(-(np.hypot(x - 200, y - 211.5) ** 2) / (2 * 18**2))
    # The same peak: the flux is as the square of sigma.
    image += 180 * np.exp(-(np.hypot(x - 270, y - 211.5) ** 2) / (2 * ratio * 18**2))
    grey = np.clip(image + 6, 0, 255).round().astype(np.uint8)
    frame = framing.frame(picture(np.repeat(grey[..., None], 3, axis=2)), "auto", RADIUS)
    assert bool(frame.flags & framing.SEVERAL) == expected


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (50, 0, 0, 0), (10, 20, 30, 40)])
def test_padding_of_one_colour_is_removed(padding: tuple[int, int, int, int]):
    top, bottom, left, right = padding
    image = np.pad(np.random.default_rng(0).uniform(0, 255, (200, 150)), ((top, bottom), (left, right)))
    image += np.random.default_rng(1).uniform(0, framing.PADDING_RANGE / 2, image.shape)  # blocks of JPEG
    rows, columns = framing._unpadded(image.astype(np.float32))
    assert (rows, columns) == (slice(top, top + 200), slice(left, left + 150))


def test_a_constant_image_keeps_its_least_side():
    rows, columns = framing._unpadded(np.zeros((200, 150), np.float32))
    assert rows.stop - rows.start == columns.stop - columns.start == 30


@pytest.mark.parametrize("scale", [0.06, 0.3, 0.5, 1.0, 2.5])
def test_a_cut_has_the_pixels_of_the_image_where_its_matrix_says(scale: float):
    """The oracle: a linear ramp, whose averages over squares are its values at their centres."""
    y, x = np.mgrid[:600, :700].astype(np.float32)
    ramp = np.stack([x / 700, y / 600, np.zeros_like(x)], axis=2)
    canvas, frame_to_image = framing.cut(ramp, (slice(0, 600), slice(0, 700)), 320.3, 270.8, scale, (0, 0, 1))
    inside = canvas[..., 2] == 0
    rows, columns = np.nonzero(inside)
    image_to_frame = np.linalg.inv(frame_to_image)
    frame = image_to_frame[:2, :2] @ np.stack([columns, rows]) + image_to_frame[:2, 2:]
    # The frame's centre is (320.3, 270.8), and `scale` of its pixels are a pixel of the image.
    expected = (frame - 211.5) / scale + np.array([[320.3], [270.8]])
    np.testing.assert_allclose(canvas[inside][:, :2].T * [[700], [600]], expected, atol=0.02)
    assert (canvas[~inside] == (0, 0, 1)).all() and inside.any()
    side = 2 * framing.REACH * framing.SIDE
    assert side / max(1, int(1 / scale)) <= len(canvas) * scale * 1.01 <= side * 1.1 + 20


def test_the_training_radius_is_the_median_of_those_that_are_known():
    assert framing.training_radius(np.array([100.0, np.nan, 120.0, 170.0, np.inf])) == 120.0


@pytest.mark.parametrize(("side", "enlarged"), [(230, False), (190, True)])
def test_sdss_frames_of_small_images_are_flagged(side: int, enlarged: bool):
    image = cv2.resize(blob(), (side, side), interpolation=cv2.INTER_AREA)
    frame = framing.frame(picture(image), "sdss", RADIUS)
    assert bool(frame.flags & framing.SMALL) == enlarged == (424 / side > 2)
    assert np.isnan(frame.target_radius) and frame.scale == 424 / side


def test_a_star_with_spikes_is_flagged_and_a_galaxy_is_not():
    y, x = np.mgrid[:424, :424] - 211.5
    radius = np.hypot(x, y)
    light = 400 * np.exp(-((radius / 8) ** 2)) + 120 * np.exp(-radius / 14)
    spikes = 110 * np.exp(-np.abs(x * y) / 60) * np.exp(-radius / 60)
    noise = np.random.default_rng(0).normal(12, 1, (424, 424, 3))
    for extra, expected in ((spikes, True), (0 * spikes, False)):
        pixels = np.clip(noise + (light + extra)[..., None], 0, 255).astype(np.uint8)
        flags = framing.frame(picture(pixels), "auto", 60.0).flags
        assert bool(flags & framing.STAR) == expected


@pytest.mark.parametrize("axis_ratio", [0.3, 0.6, 1.0])
def test_the_axis_ratio_is_that_of_the_galaxy(axis_ratio: float):
    y, x = np.mgrid[:424, :424] - 211.5
    light = 150 * np.exp(-((x / 30) ** 2 + (y / (30 * axis_ratio)) ** 2) / 2)
    pixels = np.clip(10 + light[..., None] + np.random.default_rng(0).normal(0, 1, (424, 424, 3)), 0, 255)
    frame = framing.frame(picture(pixels.astype(np.uint8)), "auto", 60.0)
    assert frame.axis_ratio == pytest.approx(axis_ratio, abs=0.04)


@pytest.mark.parametrize(
    ("shape", "choice"), [((424, 424), "auto"), ((300, 500), "auto"), ((1300, 1200), "auto"), ((424, 424), "sdss")]
)
def test_a_trimmed_frame_has_the_same_view(shape: tuple[int, int], choice: str):
    frame = framing.frame(picture(cv2.resize(blob(), shape[::-1])), choice, RADIUS)
    assert frame.radius > 0
    reach = 4.0 * 26
    small = framing.trimmed(frame, reach)
    assert small.pixels.size < 0.5 * frame.pixels.size
    np.testing.assert_allclose(view_of(small), view_of(frame), atol=1e-6)
    np.testing.assert_array_equal(framing.trimmed(frame, np.inf).pixels, frame.pixels)


def test_a_frame_that_views_leave_keeps_the_pixels_that_they_mirror():
    frame = framing.frame(picture(blob()), "sdss", RADIUS)
    small = framing.trimmed(frame, 220.0)
    np.testing.assert_array_equal(view_of(small, side=100, step=4.4), view_of(frame, side=100, step=4.4))


@pytest.mark.parametrize("number", [1, 2, 9, 10, 1001])
def test_the_median_colour_is_the_median_of_each_channel(number: int):
    colours = np.random.default_rng(number).integers(0, 256, (number, 3), dtype=np.uint8)
    assert framing._median_colour(colours) == tuple(np.median(colours, axis=0))
