"""The learning rate over a run, as one factor per step: computed once in double precision, looked up in the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mindvideo.errors import UserError


def constant(num_steps: int) -> np.ndarray:
    """float64 [num_steps] of ones."""
    return np.ones(num_steps)


def step_decay(num_steps: int, *, steps_per_epoch: int, every_epochs: int, gamma: float = 0.1) -> np.ndarray:
    """Times ``gamma`` each time another ``every_epochs`` epochs are complete."""
    if every_epochs < 1:
        raise UserError(f"schedule.step_epochs is {every_epochs}; give the number of epochs between drops, 1 or more")
    epochs = np.arange(num_steps) // steps_per_epoch
    return gamma ** (epochs // every_epochs).astype(np.float64)


def multi_step_decay(
    num_steps: int, *, steps_per_epoch: int, milestones: Sequence[int], gamma: float = 0.1
) -> np.ndarray:
    """Times ``gamma`` at the start of each epoch in ``milestones`` (epochs count from 0)."""
    if list(milestones) != sorted(set(milestones)):
        raise UserError(f"schedule.milestones must rise, got {list(milestones)}")
    epochs = np.arange(num_steps) // steps_per_epoch
    drops = (epochs[:, None] >= np.asarray(milestones, np.int64)[None, :]).sum(axis=1)
    return gamma ** drops.astype(np.float64)


def cosine_decay(num_steps: int, *, final_factor: float = 0.0) -> np.ndarray:
    """Half a cosine from 1 to ``final_factor``, which the step after the last would have."""
    progress = np.arange(num_steps) / num_steps
    return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + np.cos(math.pi * progress))


def poly_decay(num_steps: int, *, power: float, frozen: int = 0, rising: int = 0) -> np.ndarray:
    """0 for ``frozen`` steps, a straight rise to 1 over ``rising`` steps, then (1 - progress) to this power."""
    steps = np.arange(num_steps, dtype=np.float64) - frozen
    progress = np.clip((steps - rising) / max(num_steps - frozen - rising, 1), 0.0, 1.0)
    return np.where(steps < 0, 0.0, np.where(steps < rising, steps / max(rising, 1), (1.0 - progress) ** power))


def warmed_up(factors: np.ndarray, *, steps: int, start_factor: float = 0.0) -> np.ndarray:
    """The same schedule with its first ``steps`` entries scaled linearly from ``start_factor`` towards 1."""
    ramp = np.minimum(1.0, (np.arange(len(factors)) + 1) / max(steps, 1))
    return factors * (start_factor + (1.0 - start_factor) * ramp) if steps else factors


def build_schedule(
    kind: str,
    *,
    num_steps: int,
    steps_per_epoch: int,
    step_epochs: int = 1,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
    final_factor: float = 0.0,
    warmup_steps: int = 0,
    warmup_factor: float = 0.0,
    power: float = 0.9,
    late_warmup_steps: int = 0,
) -> np.ndarray:
    """float32 [num_steps]: what every group's learning rate is multiplied by at each step.

    With ``late_warmup_steps`` (poly only) [num_steps, 2]: the second column is for groups that start late. They rest
    for ``warmup_steps``, and then warm up themselves.
    """
    if kind == "poly":
        factors = poly_decay(num_steps, power=power, rising=warmup_steps)
        if late_warmup_steps:
            late = poly_decay(num_steps, power=power, frozen=warmup_steps, rising=late_warmup_steps)
            factors = np.stack([factors, late], 1)
        return factors.astype(np.float32)
    if kind == "constant":
        factors = constant(num_steps)
    elif kind == "step":
        factors = step_decay(num_steps, steps_per_epoch=steps_per_epoch, every_epochs=step_epochs, gamma=gamma)
    elif kind == "multi_step":
        factors = multi_step_decay(num_steps, steps_per_epoch=steps_per_epoch, milestones=milestones, gamma=gamma)
    elif kind == "cosine":
        factors = cosine_decay(num_steps, final_factor=final_factor)
    else:
        raise UserError(f"schedule.kind is {kind!r}; choose constant, step, multi_step, cosine or poly")
    return warmed_up(factors, steps=warmup_steps, start_factor=warmup_factor).astype(np.float32)
