"""The deterministic weights of the golden data, by published name."""

from __future__ import annotations

import re

import numpy as np


def golden_value(case, source: str, shape) -> np.ndarray:
    """The tensor of this name in ``case``: its fill, under the name it is known by, times the factors of its facts."""
    prefix = case.alias["prefix"]
    if source.startswith(prefix):
        source = "detr.bbox_embed." + source.removeprefix(prefix)
    value = case.fill(source, shape, case.facts["fill_seed"])
    for pattern, factor in case.facts["scale"]:
        if re.search(pattern, source):
            value = value * np.float32(factor)
    return value
