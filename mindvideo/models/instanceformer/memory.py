"""InstanceFormer's memory: tokens of the best queries of earlier frames, oldest frame first.

A token holds its query's content, class probabilities and box, and beside them the query's position code:
X = C + K + 4 + C numbers. F is the number of frames of the memory, the current one included.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.modules.transformers.memory_decoder import Memory
from mindvideo.ops.slices import part


def memory_rows(content: ms.Tensor, logits: ms.Tensor, boxes: ms.Tensor, query_position: ms.Tensor) -> ms.Tensor:
    """Each query as a token would hold it: [B, Q, C], [B, Q, K], [B, Q, 4], [B, Q, C] -> [B, Q, X]."""
    return ops.cat((content, ops.sigmoid(logits), boxes, query_position), -1)


def gather_queries(rows: ms.Tensor, chosen: ms.Tensor) -> ms.Tensor:
    """rows [B, Q, X], the numbers of some queries int [B, N] -> [B, N, X]."""
    B, Q, X = rows.shape
    flat = chosen + ops.cast((ops.arange(B) * Q).expand_dims(-1), chosen.dtype)
    return ops.gather(rows.reshape(B * Q, X), flat, 0)


def remember_tokens(stored: ms.Tensor, tokens: ms.Tensor, frames_seen: ms.Tensor) -> ms.Tensor:
    """Put tokens [B, N, X] after the newest of stored [B, F - 1, N, X]; when it is full the oldest make room."""
    places = stored.shape[1]
    new = tokens.expand_dims(1)
    moved = ops.cat((part(stored, 1, 1), new), 1)
    here = ops.equal(ops.arange(places), frames_seen).reshape(1, places, 1, 1).broadcast_to(stored.shape)
    filled = ops.select(here, new.broadcast_to(stored.shape), stored)
    return ops.select((frames_seen >= places).broadcast_to(stored.shape), moved, filled)


def recall_tokens(stored: ms.Tensor, frames_seen: ms.Tensor, width: int, projection: nn.Cell) -> Memory:
    """Stored tokens [B, F - 1, N, X], of which the first ``frames_seen`` frames are filled -> (F - 1) * N tokens."""
    B, places, N, _ = stored.shape
    keys, values = read_tokens(stored, places, width, projection)
    ignored = ops.arange(places).expand_dims(-1).broadcast_to((places, N)).reshape(1, places * N) >= frames_seen
    ignored = ignored.broadcast_to((B, places * N))
    return {"keys": keys, "values": values, "ignored": ignored, "any_valid": ops.greater(frames_seen, 0)}


def read_tokens(stored: ms.Tensor, span: int, width: int, projection: nn.Cell) -> tuple[ms.Tensor, ms.Tensor]:
    """Tokens [B, frames, N, X] -> keys and values [B, frames * N, C]; ``span`` scales the code of their time."""
    B, frames, N, X = stored.shape
    values = projection(part(stored, -1, 0, X - width))
    time = time_code_tensor(frames, span, width).reshape(1, frames, 1, width)
    keys = values + (part(stored, -1, X - width) + time)
    shape = (B, frames * N, width)
    return keys.reshape(shape), values.reshape(shape)


@ops.constexpr
def time_code_tensor(frames: int, span: int, width: int) -> ms.Tensor:
    return ms.Tensor(time_codes(frames=frames, span=span, width=width))


def time_codes(*, frames: int, span: int, width: int) -> np.ndarray:
    """Sine code of the time of memory tokens, oldest frame first: float32 [frames, C].

    The image's sine code on a column of ``span`` pixels: the first half of the numbers tells the row apart, the second
    half is the code of the only column.
    """
    features = width // 2
    pairs = np.arange(features // 2, dtype=np.float64)
    frequencies = (10000.0 ** (2 * pairs / features)).astype(np.float32)
    rows = (np.arange(frames, dtype=np.float32) + np.float32(0.5)) / np.float32(span + 1e-6) * np.float32(2 * math.pi)
    column = np.full(frames, np.float32(0.5) / np.float32(1 + 1e-6) * np.float32(2 * math.pi), np.float32)
    angles = np.stack([rows, column], 1)[..., None] / frequencies  # [frames, 2, features / 2]
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(frames, width).astype(np.float32)
