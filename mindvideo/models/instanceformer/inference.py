"""How InstanceFormer runs on a video: one compiled graph a frame, with a state that passes from frame to frame."""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.inference.trackers.lives import Observation
from mindvideo.inference.trackers.online import SeenFrame
from mindvideo.models.instanceformer.network import CarriedState, FramePrediction, InstanceFormer, OnlineState
from mindvideo.modules.encoded_frames import EncodedFrames
from mindvideo.ops.slices import at


class OnlineFrame(TypedDict):
    """All of one frame, from the encoder to what the next one starts from."""

    encoded: EncodedFrames
    prediction: FramePrediction
    mask_logits: ms.Tensor  # [1, Q, 2 h, 2 w]
    following: CarriedState


class FrameGraph(nn.Cell):
    """One frame as MindSpore compiles and exports it: the columns of the state in, those of SeenFrame and of the next
    state out."""

    def __init__(self, *, network: InstanceFormer, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)  # what a frame is seen with must not rename what is trained
        self.network, self.pixels = network, pixels

    def construct(
        self,
        image: ms.Tensor,
        content: ms.Tensor,
        reference: ms.Tensor,
        frames_seen: ms.Tensor,
        memory: ms.Tensor | None = None,
    ) -> tuple[ms.Tensor, ...]:
        """image uint8 [H, W, 3]; the others as in OnlineState, for one video."""
        H, W, _ = image.shape
        frames, padding = self.pixels(image.reshape(1, 1, H, W, 3), frame_size(H, W))
        state: CarriedState = {"content": content, "reference": reference, "frames_seen": frames_seen, "memory": memory}
        frame = self.frame(frames, padding, frame_size(H, W), state)
        prediction, following = frame["prediction"], frame["following"]
        decoding = prediction["decoding"]
        seen = (
            ops.sigmoid(at(at(prediction["logits"], 0, -1), 0, 0)),
            at(at(decoding["boxes"], 0, -1), 0, 0),
            at(frame["mask_logits"], 0, 0),
            at(at(decoding["content"], 0, -1), 0, 0),
            at(prediction["reference"], 0, 0),
            at(decoding["locations"], 0, 0),
        )
        columns = (following["content"], following["reference"], following["frames_seen"])
        return (*seen, *columns) if memory is None else (*seen, *columns, following["memory"])

    def frame(self, frames: ms.Tensor, padding: ms.Tensor, size: ms.Tensor, state: CarriedState) -> OnlineFrame:
        """Normalised frames [1, 1, 3, H, W], padding [1, 1, H, W], size [1, 2] as (h, w)."""
        network = self.network
        encoded = network.encode(frames, padding)
        prediction, following = network.step(network.values_of_frames(encoded, 1)[0], encoded, state)
        masks = network.masks(at(encoded["mask_features"], 1, 0), prediction["decoding"], size)
        return {"encoded": encoded, "prediction": prediction, "mask_logits": masks, "following": following}


class InstanceFormerStep:
    """An :class:`~mindvideo.inference.trackers.online.OnlineStep`: the graph of a frame, with names for its columns."""

    def __init__(self, *, network: InstanceFormer, pixels: nn.Cell) -> None:
        self.graph = FrameGraph(network=network, pixels=pixels)
        self._run = KeptGraph(self.graph)

    def initial_state(self) -> OnlineState:
        """Before the first frame of a video."""
        network = self.graph.network
        memory = np.zeros((1, *network.memory_shape), np.float32) if network.has_memory else None
        return OnlineState(
            content=ms.Tensor(np.ascontiguousarray(network.query_embed.asnumpy()[None, :, network.width :])),
            reference=ms.Tensor(np.zeros((1, network.num_queries, network.reference_width), np.float32)),
            frames_seen=ms.Tensor(np.zeros((), np.int32)),
            memory=None if memory is None else ms.Tensor(memory),
        )

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def observe(self, image: ms.Tensor, state: OnlineState) -> tuple[Observation, OnlineState]:
        """A frame in the terms of the tracker for videos of any length."""
        seen, following = self(image, state)
        return Observation(seen.probabilities.asnumpy(), seen.mask_logits.asnumpy()), following

    def renewed(self, state: OnlineState, queries: np.ndarray) -> OnlineState:
        """The state with some queries, bool [Q], as in the first frame; what the memory holds of them stays."""
        network = self.graph.network
        parameters = (network.query_embed, network.reference_points.weight, network.reference_points.bias)
        embed, weight, bias = (parameter.asnumpy() for parameter in parameters)
        position, content = embed[:, : network.width], embed[:, network.width :]
        reference = reference_to_carry(position @ weight.T + bias, network.inference_propagation)
        chosen = queries[:, None]
        return state._replace(
            content=ms.Tensor(np.where(chosen, content, state.content.asnumpy())),
            reference=ms.Tensor(np.where(chosen, reference, state.reference.asnumpy())),
        )

    def __call__(self, image: ms.Tensor, state: OnlineState) -> tuple[SeenFrame, OnlineState]:
        columns = self._run(image, *(part for part in state if part is not None))
        seen = len(SeenFrame._fields)
        return SeenFrame(*columns[:seen]), OnlineState(*columns[seen:])


def reference_to_carry(own: np.ndarray, propagation: str) -> np.ndarray:
    """The carried references from which the next frame starts at its own ones.

    ``own``: those before the sigmoid, float32 [Q, 2 or 4]. See ``InstanceFormer.propagate``, which this turns round.
    """
    reference = 1.0 / (1.0 + np.exp(-own))
    if propagation == "multiply":
        return (own / reference).astype(np.float32)
    if propagation == "add":
        return (own - reference).astype(np.float32)
    return reference.astype(np.float32)  # "none" reads nothing of it


@ops.constexpr
def frame_size(height: int, width: int) -> ms.Tensor:
    return ms.Tensor(np.asarray([[height, width]], np.int32))
