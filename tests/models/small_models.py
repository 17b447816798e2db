"""Every family at sizes that no code expects, with a batch for it.

A family brings ``small(T, Q, K)`` in ``tests/models/<family>/small.py``: overrides of its ``<family>_toy``. By default
the sizes are odd ones; ``pytest --sizes SEED`` draws others, for a second set of checks that need no published numbers.
"""

from __future__ import annotations

import dataclasses
import importlib
import json

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.registry import card_of, reads_of, settings_of


@dataclasses.dataclass(frozen=True)
class Sizes:
    """T frames, Q queries, K classes, N rows of targets, height and width of the canvas; and the seed of the values."""

    T: int = 3
    Q: int = 5
    K: int = 7
    N: int = 4
    height: int = 72
    width: int = 40
    seed: int = 0

    @classmethod
    def drawn(cls, seed: int) -> Sizes:
        """Others for every seed but 0."""
        if seed == 0:
            return cls()
        rng = np.random.default_rng(seed)
        T, N = rng.integers(2, 5), rng.integers(3, 6)
        return cls(
            T=int(T),
            Q=int(N + rng.integers(0, 4)),
            K=int(rng.integers(5, 10)),
            N=int(N),
            height=8 * int(rng.integers(6, 11)),
            width=8 * int(rng.integers(6, 11)),
            seed=seed,
        )


@dataclasses.dataclass
class Model:
    """One family, small: its network, its training graph, and the weights that learn.

    ``overrides``: the arguments of a tool that turn ``<name>_toy`` into it.
    """

    name: str
    sizes: Sizes
    overrides: list[str]
    cfg: object
    network: nn.Cell
    training: nn.Cell

    def weights(self) -> dict[str, ms.Parameter]:
        return {place: p for place, p in self.network.parameters_and_names() if p.requires_grad}


def small_overrides(name: str, sizes: Sizes) -> list[str]:
    """Arguments of a tool that turn ``<name>_toy`` into the small model."""
    own = importlib.import_module(f"tests.models.{name}.small").small(T=sizes.T, Q=sizes.Q, K=sizes.K)
    common = {
        "data.num_frames": sizes.T, "data.num_classes": sizes.K, "data.max_instances": sizes.N,
        "optimizer.clip_norm": 0, "schedule.warmup_steps": 0, "inference.class_names": [],
    }  # fmt: skip
    if "backbone" in reads_of(name):
        common["backbone.widths"] = [8, 16, 16, 24]
    return written({**common, **own})


def written(values: dict[str, object]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def new_model(name: str, sizes: Sizes, **own: object) -> Model:
    """``own``: keys of the family's section; those that it does not have are left out."""
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(3 + sizes.seed)
    has = {field.name for field in dataclasses.fields(settings_of(name))}
    more = {f"{name}.{key}": value for key, value in own.items() if key in has}
    overrides = small_overrides(name, sizes) + written(more)
    cfg = load_config(f"{name}_toy", overrides)
    network = card_of(name).build_network(cfg)
    rng = np.random.default_rng(1 + sizes.seed)
    for parameter in network.trainable_params():  # away from the zeros that some layers start with
        noise = 0.02 * rng.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    return Model(name, sizes, overrides, cfg, network, card_of(name).build_training(cfg, network, nn.Identity()))


def batch(own: Model, *, objects: tuple[int, ...] = (3, 2), seed: int = 0) -> list[np.ndarray]:
    """The columns of a ClipBatch of a family without the ids: clips with that many objects, the later ones smaller."""
    sizes = own.sizes
    T, N, H, W = sizes.T, sizes.N, sizes.height, sizes.width
    rng = np.random.default_rng([sizes.seed, seed])
    B = len(objects)
    valid = np.array([(H, W), (H - 12, W - 8), (H - 22, W)][:B], np.int32)
    images = np.zeros((B, T, H, W, 3), np.uint8)
    masks = np.zeros((B, N, T, H, W), np.uint8)
    boxes = np.zeros((B, N, T, 4), np.float32)
    labels = np.zeros((B, N), np.int32)
    exists = np.arange(N)[None] < np.array(objects)[:, None]
    for b, (h, w) in enumerate(valid):
        images[b, :, :h, :w] = rng.integers(0, 256, (T, h, w, 3))
        for n in range(objects[b]):
            labels[b, n] = rng.integers(1, sizes.K - 1)
            for t in range(T):
                y, x = rng.integers(0, h - 20), rng.integers(0, w - 16)
                masks[b, n, t, y : y + 20, x : x + 16] = 1
                boxes[b, n, t] = (x + 8) / w, (y + 10) / h, 16 / w, 20 / h
    present = np.broadcast_to(exists[..., None], (B, N, T)).copy()
    present[0, 0, 1] = False  # one instance leaves for a frame
    stride = card_of(own.name).mask_stride(own.cfg)
    masks = np.ascontiguousarray(masks[..., stride // 2 :: stride, stride // 2 :: stride])
    return [images, valid, labels, boxes, masks, present, exists]


def tensors(columns: list[np.ndarray]) -> list[ms.Tensor]:
    return [ms.Tensor(column) for column in columns]
