"""A made-up set of labelled videos: shapes that move, turn, grow, hide one another, leave and come back.

Everything follows from (seed, split, video number); splits have disjoint random streams and so share nothing.
Lengths in pixels are given for frames 64 high and grow with the height.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from mindvideo.data.synthetic.shapes import SILHOUETTES

SPLIT_STREAMS = {"train": 1, "valid": 2, "test": 3}
MIN_VISIBLE_PIXELS = 16  # fewer visible pixels of an object in a frame count as absent


@dataclasses.dataclass(frozen=True)
class SyntheticRecipe:
    """How the videos of a set look. Ranges are (minimum, maximum)."""

    height: int = 64
    width: int = 96
    num_frames: int = 5
    objects: tuple[int, int] = (1, 4)
    shapes: tuple[str, ...] = ("disc", "square", "triangle", "cross")
    background_mean: tuple[float, float] = (0.0, 0.5)
    background_contrast: float = 0.08
    background_drift: float = 1.0  # pixels a frame
    min_contrast: float | None = 0.3  # mean channel difference of an object from the background; None: any colour
    stripes: float = 0.15
    pixel_noise: float = 0.03
    radius: tuple[float, float] = (10.0, 18.0)
    first_angle: float = 0.5  # radians, either way
    angle_step: float = 0.1
    scale_step: float = 0.03
    speed: float = 3.0
    sway: float = 0.0  # pixels that an object swings about its straight way: leaving and coming back
    min_inside: float = 0.5  # share of the frames in which an object's centre is inside the frame


RECIPES = {
    "easy": SyntheticRecipe(),
    "hard": SyntheticRecipe(
        height=192,
        width=320,
        num_frames=20,
        objects=(2, 8),
        shapes=tuple(SILHOUETTES),
        background_mean=(0.1, 0.9),
        background_contrast=0.25,
        background_drift=2.0,
        min_contrast=None,
        stripes=0.3,
        pixel_noise=0.04,
        radius=(6.0, 17.0),
        first_angle=float(np.pi),
        angle_step=0.15,
        scale_step=0.04,
        speed=2.0,
        sway=40.0,
    ),
}


def longer(recipe: SyntheticRecipe, num_frames: int) -> SyntheticRecipe:
    """The same objects in a long video: three or more of them, which turn round instead of leaving for good."""
    return dataclasses.replace(
        recipe,
        num_frames=num_frames,
        objects=(min(3, recipe.objects[1]), recipe.objects[1]),
        angle_step=recipe.angle_step / 2,
        scale_step=recipe.scale_step / 3,
        background_drift=recipe.background_drift / 4,
        speed=recipe.speed / 10,
        sway=max(recipe.sway, 24.0),
        min_inside=0.85,
    )


@dataclasses.dataclass(frozen=True)
class SyntheticVideo:
    """``frames`` uint8 [T, H, W, 3] RGB; ``masks`` bool [N, T, H, W] of what is visible; ``labels`` [N], from 1."""

    frames: np.ndarray
    masks: np.ndarray
    labels: tuple[int, ...]


def video_generator(seed: int, split: str, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, SPLIT_STREAMS[split], index]))


def render_video(recipe: SyntheticRecipe, *, seed: int, split: str, index: int) -> SyntheticVideo:
    """Video ``index`` of a split. Drawn again, on the same stream, until an object is visible in it."""
    rng = video_generator(seed, split, index)
    while True:
        video = _draw_video(recipe, rng)
        if len(video.labels):
            return video


def _draw_video(recipe: SyntheticRecipe, rng: np.random.Generator) -> SyntheticVideo:
    T, H, W = recipe.num_frames, recipe.height, recipe.width
    background_colour = rng.uniform(*recipe.background_mean, size=3).astype(np.float32)
    canvas = moving_noise(recipe, rng) * recipe.background_contrast + background_colour  # [T, H, W, 3]
    N = int(rng.integers(recipe.objects[0], recipe.objects[1] + 1))
    labels = rng.integers(len(recipe.shapes), size=N)
    owner = np.full((T, H, W), -1, np.int8)  # the object nearest to the viewer; later ones are nearer
    for n in range(N):
        inside, stripes = _draw_object(recipe, recipe.shapes[labels[n]], rng)
        colour = object_colour(recipe, background_colour, rng)
        owner[inside] = n
        canvas[inside] = colour + stripes[inside][:, None]
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(recipe.pixel_noise)
    frames = np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)
    masks = owner[None] == np.arange(N, dtype=np.int8)[:, None, None, None]  # [N, T, H, W]
    masks &= (masks.sum(axis=(2, 3)) >= MIN_VISIBLE_PIXELS)[:, :, None, None]
    seen = masks.any(axis=(1, 2, 3))
    return SyntheticVideo(frames, masks[seen], tuple(int(label) + 1 for label in labels[seen]))


def moving_noise(recipe: SyntheticRecipe, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit size drifting at a constant speed, f32 [T, H, W, 3]."""
    T, H, W = recipe.num_frames, recipe.height, recipe.width
    unit = H / 64
    drift = rng.standard_normal(2) * recipe.background_drift * unit
    reach = int(np.ceil(np.abs(drift).max() * T)) + 1
    coarse = rng.standard_normal((max(4, H // int(12 * unit) + 2), max(4, W // int(12 * unit) + 2), 3), np.float32)
    field = cv2.resize(coarse, (W + 2 * reach, H + 2 * reach), interpolation=cv2.INTER_CUBIC)
    frames = np.empty((T, H, W, 3), np.float32)
    for t in range(T):
        x, y = (int(round(offset)) for offset in reach / 2 + drift * (t - T / 2))
        x, y = min(max(x, 0), 2 * reach), min(max(y, 0), 2 * reach)
        frames[t] = field[y : y + H, x : x + W]
    return frames


def object_colour(recipe: SyntheticRecipe, background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour f32 [3]; with ``min_contrast`` it is brighter than the background by that much on average."""
    while True:
        colour = rng.random(3, np.float32)
        if recipe.min_contrast is None or (colour - background).mean() > recipe.min_contrast:
            return colour


def _draw_object(recipe: SyntheticRecipe, shape: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where the object is, bool [T, H, W], and its stripes, f32 [T, H, W]."""
    T, H, W = recipe.num_frames, recipe.height, recipe.width
    unit = H / 64
    centres = object_path(recipe, rng)  # [T, 2] x, y
    radius = rng.uniform(*recipe.radius) * unit * np.exp(np.cumsum(rng.standard_normal(T) * recipe.scale_step))
    angle = rng.uniform(-recipe.first_angle, recipe.first_angle) + np.cumsum(rng.standard_normal(T) * recipe.angle_step)
    cosine, sine = (np.cos(angle) / radius).astype(np.float32), (np.sin(angle) / radius).astype(np.float32)
    x = np.arange(W, dtype=np.float32) - centres[:, :1].astype(np.float32)  # [T, W]
    y = np.arange(H, dtype=np.float32) - centres[:, 1:].astype(np.float32)  # [T, H]
    u = (cosine[:, None] * x)[:, None, :] + (sine[:, None] * y)[:, :, None]  # [T, H, W]
    v = (cosine[:, None] * y)[:, :, None] - (sine[:, None] * x)[:, None, :]
    inside = SILHOUETTES[shape](u, v)
    direction, frequency, phase = rng.uniform(0, np.pi), rng.uniform(4, 9), rng.uniform(0, 2 * np.pi)
    wave = np.float32(frequency * np.cos(direction)) * u + np.float32(frequency * np.sin(direction)) * v
    return inside, np.sin(wave + np.float32(phase)) * np.float32(recipe.stripes)


def object_path(recipe: SyntheticRecipe, rng: np.random.Generator) -> np.ndarray:
    """Centres [T, 2] (x, y): a straight way with, for ``sway``, a swing about it; drawn until it is inside enough."""
    T, unit = recipe.num_frames, recipe.height / 64
    size = np.array([recipe.width, recipe.height], float)
    time = np.arange(T)[:, None]
    while True:
        start = rng.uniform(-0.2, 1.2, size=2) * size
        path = start + time * rng.standard_normal(2) * recipe.speed * unit
        if recipe.sway:
            period = rng.uniform(0.6, 1.5) * T
            swing = rng.standard_normal(2) * recipe.sway / 2 * unit
            path = path + swing * np.sin(2 * np.pi * time / period + rng.uniform(0, 2 * np.pi))
        inside = ((path >= 0) & (path < size)).all(axis=1)
        if inside.mean() >= recipe.min_inside:
            return path
