"""How GMP-VIS runs on a video: overlapping windows, whose instances are matched as graphs with those of a bank."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from ml_collections import ConfigDict

from mindvideo.data.media.frame_size import ShortSideResize
from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.execution.portions import PortionedClip
from mindvideo.inference.export import ExportPlan
from mindvideo.inference.post_process import softmax
from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.track_bank import Association
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.dense_clips import portioned_clip
from mindvideo.models.cards.linking import linking_of
from mindvideo.models.cards.lives import life_rules
from mindvideo.models.gmpvis.network import GMPVIS
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.matching.graph_matching import match_on_host


class ClipGraph(nn.Cell):
    """One clip: images uint8 [1, T, H, W, 3] -> probabilities [Q, T, K], mask logits [Q, T, h, w], nodes [Q, T, C]."""

    def __init__(self, *, network: GMPVIS, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.pixels = network, pixels
        self.set_train(False)

    def construct(self, images: ms.Tensor, sizes: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        found = self.network(self.pixels(images, sizes)[0])  # the frames fill the canvas: no padding to mask
        probabilities = ops.softmax(found[0][-1, 0], axis=-1)
        if self.network.second_classes is not None:
            probabilities = 0.5 * (probabilities + ops.softmax(found[4][0], axis=-1))
        return probabilities[..., :-1], found[2][0], found[3][0]


class _Frames(nn.Cell):
    """Images uint8 [1, T, H, W, 3] -> normalised frames."""

    def __init__(self, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.pixels = pixels

    def construct(self, images: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        return self.pixels(images, sizes)[0]


class GMPVISRunner:
    """A ClipRunner whose features are the nodes; ``portioned``: the network in bounded memory, which is what runs."""

    def __init__(self, *, network: GMPVIS, portioned: PortionedClip, pixels: nn.Cell) -> None:
        self._whole = ClipGraph(network=network, pixels=pixels)
        self._frames, self._portioned, self._second = KeptGraph(_Frames(pixels)), portioned, network.second_classes

    def export_plan(self, *, num_frames: int, size: tuple[int, int]) -> ExportPlan:
        """The network as one graph, for clips of ``num_frames`` frames of ``size`` (H, W)."""
        images = ms.Tensor(np.zeros((1, num_frames, *size, 3), np.uint8))
        inputs = {"images": images, "sizes": ms.Tensor(np.array([size], np.int32))}
        return ExportPlan(graph=self._whole, inputs=inputs, outputs=("probabilities", "mask_logits", "nodes"))

    def __call__(self, frames: Sequence[np.ndarray]) -> ClipPrediction:
        """Frames uint8 [h, w, 3] of the network's size."""
        images = np.stack(frames)
        sizes = np.array([images.shape[1:3]], np.int32)
        found = self._portioned.run(self._frames(ms.Tensor(images[None]), ms.Tensor(sizes)))
        probabilities = softmax(found["logits"][-1, 0].asnumpy())
        if self._second is not None:
            probabilities = 0.5 * (probabilities + softmax(self._second(found["masks"])[0].asnumpy()))
        return ClipPrediction(
            probabilities=probabilities[..., :-1],
            mask_logits=found["masks"][0].asnumpy(),
            features=found["nodes"][0].asnumpy(),
        )


class GraphAssociation:
    """Tracks of a bank and queries of a window, matched with the weights of ``network``."""

    def __init__(self, *, network: GMPVIS) -> None:
        self._matcher = network.graph_matcher

    def __call__(self, history: np.ndarray, current: np.ndarray) -> Association:
        matcher = self._matcher
        found = match_on_host(
            history,
            current,
            weight=matcher.cross_graph.weight.asnumpy(),
            bias=matcher.cross_graph.bias.asnumpy(),
            solver=matcher.solver,
            iterations=matcher.iterations,
        )
        return Association(*found)


def build_tracker(cfg: ConfigDict, network: GMPVIS) -> WindowTracker:
    inference = cfg.inference
    portioned = portioned_clip(cfg, "gmpvis", network, more=("nodes",))
    return WindowTracker(
        runner=GMPVISRunner(network=network, portioned=portioned, pixels=NormalizePixels()),
        num_frames=cfg.data.num_frames,
        prepare=ShortSideResize(short_side=inference.short_side, long_side=inference.long_side),
        rule=VoteByFrame(),
        overlap=inference.window_overlap,
        rules=life_rules(cfg),
        **linking_of(cfg, graph=GraphAssociation(network=network)),
    )
