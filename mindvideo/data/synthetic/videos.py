"""A made-up set of labelled videos: shapes that move, turn, grow, hide one another, leave and come back.

Everything follows from (seed, split, video number); splits have disjoint random streams and so share nothing.
Lengths in pixels are given for frames 64 high and grow with the height.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from mindvideo.data.synthetic.shapes import SILHOUETTES

SPLIT_STREAMS = {"train": 1, "valid": 2, "test": 3, "stay": 4, "late": 5, "late200": 6, "cuts": 7}
MIN_VISIBLE_PIXELS = 16  # fewer visible pixels of an object in a frame count as absent


@dataclasses.dataclass(frozen=True)
class Presence:
    """When objects are in view. The first is there from the start; the others enter by ``last_entry`` of the video.

    Of all objects the share ``leaving`` leaves for good, and ``returning`` leaves and comes back. On its way in or out
    an object needs ``way`` frames.
    """

    last_entry: float = 0.75
    leaving: float = 1 / 3
    returning: float = 1 / 4
    way: int = 6


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
    presence: Presence | None = None  # None: objects are in view from the start
    min_crossings: int = 0  # pairs of objects of which one hides part of the other for a while
    scenes: int = 1  # that are spliced, each with a background and objects of its own


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
    """Video ``index`` of a split."""
    rng = video_generator(seed, split, index)
    if recipe.scenes == 1:
        return _draw_scene(recipe, rng)
    return spliced([_draw_scene(part, rng) for part in scenes_of(recipe, rng)])


def scenes_of(recipe: SyntheticRecipe, rng: np.random.Generator) -> list[SyntheticRecipe]:
    """A recipe for each scene: the cuts lie about where scenes of equal length would end, a third of that either way.

    The backgrounds of neighbours differ: they take turns in the lower and the upper half of the brightness.
    """
    length = recipe.num_frames / recipe.scenes
    cuts = [round(length * (cut + rng.uniform(-1 / 3, 1 / 3))) for cut in range(1, recipe.scenes)]
    darkest, brightest = recipe.background_mean
    middle = (darkest + brightest) / 2
    halves = [(darkest, (darkest + middle) / 2), ((middle + brightest) / 2, brightest)]
    first = int(rng.integers(2))
    return [
        dataclasses.replace(recipe, scenes=1, num_frames=stop - start, background_mean=halves[(first + scene) % 2])
        for scene, (start, stop) in enumerate(zip([0, *cuts], [*cuts, recipe.num_frames]))
    ]


def spliced(scenes: list[SyntheticVideo]) -> SyntheticVideo:
    """One video after the other; an object is in its own scene only."""
    frames = np.concatenate([scene.frames for scene in scenes])
    masks = np.zeros((sum(len(scene.labels) for scene in scenes), *frames.shape[:3]), bool)
    row = start = 0
    for scene in scenes:
        rows, stop = row + len(scene.labels), start + len(scene.frames)
        masks[row:rows, start:stop] = scene.masks
        row, start = rows, stop
    return SyntheticVideo(frames, masks, tuple(label for scene in scenes for label in scene.labels))


def _draw_scene(recipe: SyntheticRecipe, rng: np.random.Generator) -> SyntheticVideo:
    """Drawn again, on the same stream, until an object is visible in it and enough of them cross."""
    while True:
        video, crossings = _draw_video(recipe, rng)
        if len(video.labels) and crossings >= recipe.min_crossings:
            return video


def _draw_video(recipe: SyntheticRecipe, rng: np.random.Generator) -> tuple[SyntheticVideo, int]:
    """A video, and how many pairs of its objects cross."""
    T, H, W = recipe.num_frames, recipe.height, recipe.width
    background_colour = rng.uniform(*recipe.background_mean, size=3).astype(np.float32)
    canvas = moving_noise(recipe, rng) * recipe.background_contrast + background_colour  # [T, H, W, 3]
    N = int(rng.integers(recipe.objects[0], recipe.objects[1] + 1))
    labels = rng.integers(len(recipe.shapes), size=N)
    away = np.zeros((N, T)) if recipe.presence is None else times_away(recipe.presence, N, T, rng)
    crossings = 0
    owner = np.full((T, H, W), -1, np.int8)  # the object nearest to the viewer; later ones are nearer
    for n in range(N):
        inside, stripes = _draw_object(recipe, recipe.shapes[labels[n]], away[n], rng)
        colour = object_colour(recipe, background_colour, rng)
        crossings += _count_hidden(owner, inside, n)
        owner[inside] = n
        canvas[inside] = colour + stripes[inside][:, None]
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(recipe.pixel_noise)
    frames = np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)
    masks = owner[None] == np.arange(N, dtype=np.int8)[:, None, None, None]  # [N, T, H, W]
    masks &= (masks.sum(axis=(2, 3)) >= MIN_VISIBLE_PIXELS)[:, :, None, None]
    seen = masks.any(axis=(1, 2, 3))
    return SyntheticVideo(frames, masks[seen], tuple(int(label) + 1 for label in labels[seen])), crossings


def _count_hidden(owner: np.ndarray, inside: np.ndarray, num_before: int) -> int:
    """How many of the objects so far the next one, ``inside`` [T, H, W], hides partly in some frames, not in all."""
    hidden = [((owner == n) & inside).any(axis=(1, 2)) for n in range(num_before)]
    return sum(bool(frames.any() and not frames.all()) for frames in hidden)


def times_away(presence: Presence, N: int, T: int, rng: np.random.Generator) -> np.ndarray:
    """How far each object is out of view, float [N, T]: 0 where it is on its path, 1 where it is gone."""
    kinds = rng.permutation(N)
    num_leaving, num_returning = round(presence.leaving * N), max(1, round(presence.returning * N))
    away = np.zeros((N, T))
    for n in range(N):
        gone = np.zeros(T, bool)
        entry = 0 if n == 0 else int(rng.integers(1, max(2, int(presence.last_entry * T))))
        gone[:entry] = True
        stay = T - entry
        if kinds[n] < num_leaving:
            gone[entry + int(stay * rng.uniform(0.4, 0.8)) :] = True
        elif kinds[n] < num_leaving + num_returning and stay > 5 * presence.way:
            start = entry + int(stay * rng.uniform(0.3, 0.5))
            gone[start : start + int(stay * rng.uniform(0.15, 0.3))] = True
        if gone.any():
            frames_to_gone = np.abs(np.arange(T)[:, None] - np.flatnonzero(gone)).min(axis=1)
            away[n] = np.maximum(0.0, 1.0 - frames_to_gone / presence.way)
    return away


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


def _draw_object(
    recipe: SyntheticRecipe, shape: str, away: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where the object is, bool [T, H, W], and its stripes, f32 [T, H, W]; ``away`` [T] as of ``times_away``."""
    T, H, W = recipe.num_frames, recipe.height, recipe.width
    unit = H / 64
    centres = object_path(recipe, rng)  # [T, 2] x, y
    radius = rng.uniform(*recipe.radius) * unit * np.exp(np.cumsum(rng.standard_normal(T) * recipe.scale_step))
    if away.any():
        centres = moved_out(centres, away, radius.max(), size=(H, W))
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


def moved_out(centres: np.ndarray, away: np.ndarray, radius: float, *, size: tuple[int, int]) -> np.ndarray:
    """Centres [T, 2] with the way to the outside: straight over the border nearest to where the object leaves."""
    H, W = size
    borders = np.array([[0.0, np.inf], [W, np.inf], [np.inf, 0.0], [np.inf, H]])  # left, right, top, bottom: x, y
    edges = np.flatnonzero(np.diff((away > 0).astype(int)))  # the frames before a way begins or ends
    moved = centres.copy()
    for t in np.flatnonzero(away > 0):
        turn = centres[edges[np.abs(edges - t).argmin()]] if len(edges) else centres[t]
        side = np.abs(borders - turn).min(axis=1).argmin()
        axis = side // 2
        outside = borders[side, axis] + (2 * (side % 2) - 1) * (radius + 1)
        moved[t, axis] += away[t] * (outside - centres[t, axis])
    return moved


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
