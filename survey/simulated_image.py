"""The simulated image of a galaxy as in the Sloan Digital Sky Survey, (424, 424, 3), from the galaxy's traits.

The light is painted on the survey's pixel grid (0.396 arcsec). It is blurred by the atmosphere, gets noise, and is
stretched and compressed as by the survey's web server. Then it is enlarged until the galaxy's radius spans 64 pixels of
the image. So galaxies that are small on the sky are smooth, with coarse noise and colour fringes. Lengths are in units
of that radius unless stated otherwise. Channels are RGB: the bands i, r, g. Sizes, colours, noise and sky level are
close to the medians of real cut-outs.

Source: Willett et al. 2013 (arXiv 1308.3496), 2 (cut-outs); Lupton et al. 2004 (astro-ph/0312483) for the stretch.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import simplejpeg

from galaxy import jpeg

SIZE = jpeg.IMAGE_SHAPE[0]
RADIUS_PIXELS = 64
# Standard deviation of the atmosphere's blur, in survey pixels: 1.3 arcsec full width at half maximum.
SEEING = 1.4
SCALE_LENGTH = 0.34  # of a disk's exponential profile
# Mean intensities below 1 / STRETCH are shown linearly, brighter ones logarithmically up to white at 1.
STRETCH = 40.0
SKY_NOISE = np.array([0.0051, 0.0046, 0.0029], np.float32)
SKY_LEVEL = 0.07  # the subtracted sky; the noise comes from its photons and the galaxy's

OLD, YOUNG = np.array([1.28, 1.02, 0.70]), np.array([0.95, 0.97, 1.08])


@dataclass(frozen=True)
class Traits:
    """The traits of a galaxy; strengths are 0 (absent) to 1 (unmistakable), angles are in degrees."""

    resolution: float  # survey pixels per radius
    brightness: float  # mean intensity within the radius; 1 is white
    age: float  # colour, 0 young and blue, 1 old and yellow
    angle: float
    inclination: float = 0.0  # of the disk; 90 is edge-on
    disk: float = 0.0  # its fraction of the light; the rest belongs to the bulge
    bulge_axis_ratio: float = 1.0
    bulge_index: float = 4.0  # Sersic's n
    bulge_size: float = 0.3  # half-light radius
    boxiness: float = 0.0
    bar: float = 0.0
    num_arms: int = 2
    arm_contrast: float = 0.0
    pitch: float = 15.0  # of the spiral; small is tight
    clumpiness: float = 0.0
    ring: float = 0.0
    arc: float = 0.0
    disturbed: float = 0.0
    irregular: float = 0.0
    merger: float = 0.0
    dust: float = 0.0
    star: float = 0.0
    trail: float = 0.0

    @property
    def disk_axis_ratio(self) -> float:
        """The apparent axis ratio of a disk with a thickness of an eighth of its radius."""
        inclination = np.radians(self.inclination)
        return float(np.hypot(np.cos(inclination), 0.125 * np.sin(inclination)))


def render(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Paint a galaxy and the sky around it, (424, 424, 3) uint8 RGB."""
    size = round(SIZE * traits.resolution / RADIUS_PIXELS)
    light = _galaxy(traits, rng, size)
    if traits.merger > 0:
        light = _add_companion(light, traits, rng)
    light *= traits.brightness * np.pi * traits.resolution**2 / light.mean(axis=-1).sum()
    if traits.star > 0:
        _add_bright_star(light, rng.uniform(-2, 2, 2) + size / 2, 260 * traits.star, rng)
    elif rng.random() < 0.025 * size / 150:
        _add_bright_star(light, rng.uniform(-0.1, 1.1, 2) * size, rng.uniform(45, 200), rng)
    _add_neighbours(light, rng)
    light = _blur(light, rng)
    if traits.trail > 0:
        _add_trail(light, traits.trail, rng)
    noise = SKY_NOISE * np.float32(rng.lognormal(0, 0.2)) * np.sqrt(1 + light / SKY_LEVEL)
    light += noise * rng.standard_normal(light.shape, dtype=np.float32)
    shown = _compress(_stretch(light))
    return cv2.resize(shown, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _colour(age: float, rng: np.random.Generator) -> np.ndarray:
    """Return the RGB of a stellar population, (3,) float32 with a mean near 1; ages outside of 0..1 extrapolate."""
    return (YOUNG * (OLD / YOUNG) ** age * np.exp(rng.normal(0, 0.03, 3))).astype(np.float32)


def _sersic(radius: np.ndarray, half_light: float, index: float) -> np.ndarray:
    """Return a Sersic profile, normalised to a sum of 1 over the grid."""
    profile = np.exp(-(2 * index - 1 / 3) * (radius / half_light) ** (1 / index))
    return profile / profile.sum()


def _texture(x: np.ndarray, y: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Sample smooth noise of unit variance, with grains of the size `scale`, at the positions x, y."""
    grain = rng.standard_normal((64, 64), dtype=np.float32)
    return cv2.remap(grain, x / scale + 32, y / scale + 32, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


@dataclass(frozen=True)
class _Grid:
    """Positions of the pixels on the sky and in the galaxy's frame, in radii; (size, size) float32 each."""

    east: np.ndarray
    north: np.ndarray
    sky_x: np.ndarray  # along the galaxy's long axis
    sky_y: np.ndarray
    y: np.ndarray  # sky_y in the plane of the disk
    radius: np.ndarray  # in the plane of the disk, always above 0
    theta: np.ndarray
    grain: np.ndarray  # smooth noise of unit variance


def _grid(t: Traits, rng: np.random.Generator, size: int, centre: tuple[float, float]) -> _Grid:
    axis = (np.arange(size, dtype=np.float32) - (size - 1) / 2) / t.resolution
    east, north = np.meshgrid(axis - np.float32(centre[0]), axis - np.float32(centre[1]))
    cos, sin = np.float32(np.cos(np.radians(t.angle))), np.float32(np.sin(np.radians(t.angle)))
    x, y = cos * east + sin * north, cos * north - sin * east
    if warp := 0.16 * t.disturbed + 0.22 * t.irregular:
        x, y = x + warp * _texture(east, north, 0.5, rng), y + warp * _texture(east, north, 0.5, rng)
    in_plane = y / np.float32(t.disk_axis_ratio)
    radius = np.hypot(np.hypot(x, in_plane), np.float32(0.3 / t.resolution))
    theta = np.arctan2(in_plane, x) * rng.choice(np.array([-1, 1], np.float32))  # spirals wind in both directions
    return _Grid(east, north, x, y, in_plane, radius, theta, _texture(x, in_plane, 0.13, rng))


def _disk(t: Traits, g: _Grid, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the disk's light, with a sum of 1, and the light of young stars, concentrated on the arms' crests."""
    disk = np.exp(-g.radius / SCALE_LENGTH)
    # The arms are logarithmic spirals; they fade in outside of the bar.
    phase = t.num_arms * (g.theta - np.log(g.radius) / np.float32(np.tan(np.radians(t.pitch))))
    phase += np.float32(rng.uniform(0, 2 * np.pi)) + (0.3 + 0.4 * t.clumpiness) * _texture(g.sky_x, g.y, 0.35, rng)
    crest = np.exp(2.5 * (np.cos(phase) - 1))
    inside = 1 / (1 + np.exp(-(g.radius - 0.14 - 0.2 * t.bar) / 0.05))
    arms = t.arm_contrast * inside
    disk *= 1 - arms + arms * crest * np.maximum(3.6 + 0.9 * g.grain, 0) * np.minimum(1, np.exp((g.radius - 0.5) / 0.9))
    disk *= np.exp((0.18 * t.clumpiness + 0.35 * t.irregular) * g.grain)
    disk *= 1 - 0.75 * t.ring * np.exp(-0.5 * ((g.radius - 0.36) / 0.14) ** 2)
    disk /= disk.sum()
    return disk, disk * (0.1 + crest * arms)


def _bulge(t: Traits, g: _Grid) -> np.ndarray:
    flattening = t.bulge_axis_ratio + (np.float32(t.disk_axis_ratio) - t.bulge_axis_ratio) * 0.35 * t.disk
    power = 2 + 4 * t.boxiness
    radius = (np.abs(g.sky_x) ** power + np.abs(g.sky_y / np.float32(flattening)) ** power) ** (1 / power)
    return _sersic(np.hypot(radius, np.float32(0.3 / t.resolution)), t.bulge_size, t.bulge_index)


def _galaxy(t: Traits, rng: np.random.Generator, size: int, centre: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Paint one galaxy without blur or noise, (size, size, 3) float32; the sum of its light is about 3."""
    g = _grid(t, rng, size, centre)
    disk, young_stars = _disk(t, g, rng)
    bulge = _bulge(t, g)
    old, young = _colour(t.age + 0.25, rng), _colour(t.age - 0.25, rng)
    light = (1 - t.disk) * bulge[..., None] * old
    light += t.disk * disk[..., None] * (young + (old - young) * np.exp(-g.radius / 0.25)[..., None])
    if t.bar > 0:
        light += 0.34 * t.bar * t.disk * _bar(g, rng)[..., None] * old
    if t.ring > 0:
        ring = np.exp(-0.5 * ((g.radius - 0.62) / 0.085) ** 2) * (1 + 0.15 * g.grain)
        light += 0.5 * t.ring * (ring / ring.sum())[..., None] * _colour(t.age - 0.4, rng)
    if t.clumpiness > 0:
        knots = _knots(young_stars, 0.14 * t.clumpiness * t.disk, rng)
        light += knots[..., None] * _colour(-0.8, rng)
    if t.arc > 0:
        light += 0.12 * t.arc * _arc(g, rng)[..., None] * _colour(-0.5, rng)
    if t.dust > 0:
        depth = 4.5 * t.dust * np.exp(-(((g.sky_y - 0.015) / 0.05) ** 2) - (g.sky_x / 0.75) ** 4) * (1 + 0.25 * g.grain)
        light *= np.exp(-depth[..., None] * np.array([0.75, 1, 1.3], np.float32))
    return light


def _bar(g: _Grid, rng: np.random.Generator) -> np.ndarray:
    turn = rng.uniform(0, np.pi)
    along = (np.cos(turn) * g.sky_x + np.sin(turn) * g.y).astype(np.float32)
    across = (np.cos(turn) * g.y - np.sin(turn) * g.sky_x).astype(np.float32)
    bar = np.exp(-((np.abs(along) / 0.42) ** 3) - (np.abs(across) / 0.09) ** 2)
    return bar / bar.sum()


def _arc(g: _Grid, rng: np.random.Generator) -> np.ndarray:
    sky_radius, sky_theta = np.hypot(g.east, g.north), np.arctan2(g.north, g.east)
    away = (sky_theta - rng.uniform(-np.pi, np.pi) + np.pi) % (2 * np.pi) - np.pi
    arc = np.exp(-0.5 * ((sky_radius - 0.8) / 0.06) ** 2 - 0.5 * (away / 0.6) ** 2)
    return arc / arc.sum()


def _knots(weights: np.ndarray, total: float, rng: np.random.Generator) -> np.ndarray:
    """Distribute `total` light over star-forming knots, single pixels drawn in proportion to `weights`."""
    knots = np.zeros_like(weights)
    fluxes = rng.lognormal(0, 0.9, 45).astype(np.float32)
    cumulated = np.cumsum(weights, dtype=np.float64)
    where = np.searchsorted(cumulated, rng.random(len(fluxes)) * cumulated[-1])
    np.add.at(knots.reshape(-1), where, fluxes * np.float32(total / fluxes.sum()))
    return knots


def _add_companion(light: np.ndarray, t: Traits, rng: np.random.Generator) -> np.ndarray:
    """Add a second galaxy that merges with the first, and a bridge of stars between them."""
    bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.0)
    offset = np.array([np.cos(bearing), np.sin(bearing)]) * distance
    second = replace(t, angle=rng.uniform(0, 180), inclination=rng.uniform(20, 70), bar=0, ring=0, arc=0)
    share = rng.uniform(0.35, 0.9) * t.merger
    light = light + share * _galaxy(second, rng, len(light), tuple(offset))
    bridge = replace(t, angle=np.degrees(bearing), inclination=78, disk=1, arm_contrast=0, bar=0, ring=0, disturbed=0.8)
    return light + 0.25 * t.merger * _galaxy(bridge, rng, len(light), tuple(offset / 2))


def _add_bright_star(light: np.ndarray, position: np.ndarray, flux: float, rng: np.random.Generator) -> None:
    """Add a saturated star in place: core, red halo and diffraction spikes; `position` is x, y in survey pixels."""
    axis = np.arange(len(light), dtype=np.float32)
    x, y = np.meshgrid(axis - np.float32(position[0]), axis - np.float32(position[1]))
    turn = np.float32(rng.uniform(0.5, 1.1))
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    distance = np.hypot(x, y)
    halo = 0.0012 * (1 + (distance / 6) ** 2) ** -1.25
    core = 0.03 * np.exp(-0.5 * (distance / 2.2) ** 2)
    spikes = sum(0.003 * np.exp(-((u / 0.8) ** 2) - np.abs(v) / 11.0) for u, v in ((along, across), (across, along)))
    colours = (np.array([2.2, 0.5, 0.35]), np.array([1, 1, 1]), np.array([1.2, 0.9, 0.85]))
    for component, colour in zip((halo, core, spikes), colours, strict=True):
        light += (flux * component)[..., None] * colour.astype(np.float32)


def _add_neighbours(light: np.ndarray, rng: np.random.Generator) -> None:
    """Add faint stars (points) and small galaxies (blobs) around the galaxy, in place."""
    size = len(light)
    for _ in range(rng.poisson(8e-4 * size**2)):
        column, row = rng.integers(0, size, 2)
        flux = min(0.05 * (1 + rng.pareto(0.85)), 15)
        colour = _colour(rng.choice([rng.normal(0.9, 0.5), rng.normal(-0.3, 0.4), 3.0], p=[0.65, 0.25, 0.1]), rng)
        if rng.random() < 0.5:
            light[row, column] += flux * colour
            continue
        axis = np.arange(-12, 13, dtype=np.float32)
        width, ratio, angle = rng.lognormal(0.3, 0.4), rng.uniform(0.35, 1), rng.uniform(0, np.pi)
        x, y = np.meshgrid(axis, axis)
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        blob = np.exp(-np.hypot(along, across / ratio) / width)
        blob *= min(2 * flux, 20) / blob.sum()
        top, left = max(row - 12, 0), max(column - 12, 0)
        target = light[top : row + 13, left : column + 13]
        blob = blob[top - row + 12 :, left - column + 12 :][: target.shape[0], : target.shape[1]]
        target += (blob[..., None] * colour).astype(np.float32)


def _blur(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur each band by its seeing, and shift it by a small registration error."""
    reach = np.arange(-7, 8)
    bands = []
    for band, seeing in enumerate(SEEING * rng.normal(1, 0.07) * np.array([0.95, 1.0, 1.07])):
        kernels = [np.exp(-0.5 * ((reach - shift) / seeing) ** 2) for shift in rng.normal(0, 0.18, 2)]
        bands.append(cv2.sepFilter2D(light[..., band], -1, *(k / k.sum() for k in kernels)))
    return np.stack(bands, axis=-1)


def _add_trail(light: np.ndarray, strength: float, rng: np.random.Generator) -> None:
    """Add the straight trail of a satellite in place, in one colour: it crosses during the exposure of one band."""
    axis = np.arange(len(light), dtype=np.float32) - len(light) / 2
    x, y = np.meshgrid(axis, axis)
    angle = rng.uniform(0, np.pi)
    distance = np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.1, 0.1) * len(light)
    trail = 0.12 * strength * np.exp(-0.5 * (distance / 1.5) ** 2)
    light += trail[..., None] * (0.1 + np.eye(3)[rng.integers(3)]).astype(np.float32)


def _stretch(light: np.ndarray) -> np.ndarray:
    """Stretch intensities to uint8: asinh of the bands' mean, with the hue preserved and negative values clipped."""
    light = np.maximum(light, 0)
    mean = np.maximum(light.mean(axis=-1, keepdims=True), 1e-6)
    shown = light * (np.arcsinh(STRETCH * mean) / (np.arcsinh(STRETCH) * mean))
    shown /= np.maximum(shown.max(axis=-1, keepdims=True), 1)
    return np.rint(255 * shown).astype(np.uint8)


def _compress(image: np.ndarray) -> np.ndarray:
    """Compress and decode as JPEG, as the survey's server does: its blocks are visible in enlarged small galaxies."""
    compressed = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=85, colorspace="RGB", colorsubsampling="444"
    )
    return simplejpeg.decode_jpeg(compressed, colorspace="RGB")
