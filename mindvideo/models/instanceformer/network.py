"""InstanceFormer: an online model whose queries carry instances from one frame to the next.

Named values inside a graph are dicts, as in modules/values.py.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.models.instanceformer.memory import gather_queries, memory_rows, recall_tokens, remember_tokens
from mindvideo.modules.encoded_frames import (
    EncodedFrames,
    class_logits,
    encode_frames,
    frame_sizes,
    per_frame,
    starting_queries,
)
from mindvideo.modules.heads.dynamic_mask import DynamicMasks, MaskFeatures
from mindvideo.modules.heads.query_heads import START_SIZE_LOGIT
from mindvideo.modules.layers.feature_projection import FeatureProjection
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.position_encoding import SinePositions2d
from mindvideo.modules.layers.reference_points import in_pixels
from mindvideo.modules.transformers.deformable_encoder import DeformableEncoder
from mindvideo.modules.transformers.memory_decoder import FrameDecoding, Memory, MemoryDecoder
from mindvideo.ops.slices import at

REFERENCE_PROPAGATIONS = ("none", "multiply", "add", "box")


class OnlineState(NamedTuple):
    """All that passes from frame to frame: tensors of fixed size. Inside a graph it is a :class:`CarriedState`."""

    content: ms.Tensor  # [B, Q, C], what the queries held at the end of the last frame
    reference: ms.Tensor  # [B, Q, 2 or 4], what that frame left for the reference of the next
    frames_seen: ms.Tensor  # int32 []
    memory: ms.Tensor | None = None  # [B, F - 1, N, X], the tokens of the last frames; None in a model without memory


class CarriedState(TypedDict):
    """An :class:`OnlineState` inside a graph."""

    content: ms.Tensor
    reference: ms.Tensor
    frames_seen: ms.Tensor
    memory: ms.Tensor | None


class FramePrediction(TypedDict):
    """One frame of the online procedure."""

    logits: ms.Tensor  # [D, B, Q, K]
    decoding: FrameDecoding
    reference: ms.Tensor  # [B, Q, 2 or 4], from which the first decoder layer started


class InstanceFormer(nn.Cell):
    """Every frame is encoded by itself. The decoder starts from what the queries were at the end of the frame before,
    so a query keeps its instance without any matching; it may also look at tokens of the best queries of earlier
    frames. A query's content predicts its class, its box, and the weights of the network that draws its mask.

    ``construct(frames [B, T, 3, H, W], padding bool [B, T, H, W])`` gives logits [D, B, Q, T, K], boxes
    [D, B, Q, T, 4], and masks [B, Q, T, 2 h, 2 w] with (h, w) the finest level. :meth:`step` is one frame of it.

    ``memory_frames`` is F: a frame sees the tokens of at most F - 1 earlier frames; without ``memory_projection`` of
    none. ``temporal_class_heads`` are carried for the published weights only: what they computed cancels out.
    ``memory_mixes_clips`` reproduces how the published models were trained with several clips a batch.
    """

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        projection: FeatureProjection,
        position: SinePositions2d,
        encoder: DeformableEncoder,
        decoder: MemoryDecoder,
        class_heads: nn.CellList,
        controller: nn.Cell,
        mask_features: MaskFeatures,
        dynamic_masks: DynamicMasks,
        width: int,
        num_levels: int,
        num_queries: int,
        num_classes: int,
        reference_propagation: str,
        inference_propagation: str = "same",
        memory_projection: Linear | None = None,
        memory_frames: int = 0,
        memory_tokens: int = 0,
        memory_mixes_clips: bool = False,
        temporal_class_heads: nn.CellList | None = None,
    ) -> None:
        super().__init__()
        if inference_propagation == "same":
            inference_propagation = reference_propagation
        check_propagations(reference_propagation, inference_propagation)
        self.backbone, self.projection, self.position, self.encoder = backbone, projection, position, encoder
        self.decoder, self.class_embed = decoder, class_heads
        self.controller, self.mask_features, self.dynamic_masks = controller, mask_features, dynamic_masks
        self.width, self.num_queries = width, num_queries
        self.query_embed = Parameter(initializer(Normal(1.0), (num_queries, 2 * width)), name="query_embed")
        self.level_embed = Parameter(initializer(Normal(1.0), (num_levels, width)), name="level_embed")
        self.reference_propagation, self.inference_propagation = reference_propagation, inference_propagation
        # Where boxes are carried, the references are boxes from the start.
        self.reference_width = 4 if reference_propagation == "box" else 2
        start = [0.0, 0.0] + [START_SIZE_LOGIT] * (self.reference_width - 2)
        self.reference_points = Linear(
            width, self.reference_width, weight_init="xavier_uniform", bias_init=ms.Tensor(start, ms.float32)
        )
        self.has_memory = memory_projection is not None
        self.memory_frames, self.memory_tokens = memory_frames, memory_tokens
        self.memory_mixes_clips = memory_mixes_clips
        if self.has_memory:
            check_memory(memory_frames, memory_tokens, num_queries)
            self.mem_token_proj = memory_projection
        self.memory_shape = (memory_frames - 1, memory_tokens, 2 * width + num_classes + 4)
        if temporal_class_heads is not None:
            self.temporal_class_embed = temporal_class_heads

    def construct(self, frames: ms.Tensor, padding: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        B, T = frames.shape[:2]
        encoded = self.encode(frames, padding)
        values = self.values_of_frames(encoded, T)
        state = self.initial_state(B)
        logits, boxes, masks = [], [], []
        for frame in range(T):
            prediction, state = self.step(values[frame], encoded, state)
            decoding = prediction["decoding"]
            logits.append(prediction["logits"])
            boxes.append(decoding["boxes"])
            masks.append(self.masks(at(encoded["mask_features"], 1, frame), decoding, frame_sizes(padding)))
        return ops.stack(logits, 3), ops.stack(boxes, 3), ops.stack(masks, 2)

    def step(
        self, values: tuple[ms.Tensor, ...], encoded: EncodedFrames, state: CarriedState
    ) -> tuple[FramePrediction, CarriedState]:
        """One frame, of which ``values`` has what each decoder layer reads."""
        content, frames_seen = state["content"], state["frames_seen"]
        own = self.first_reference(self.query_position(content.shape[0]))
        carried = self.propagate(state["reference"], own, self.inference_propagation)
        reference = ops.select(ops.equal(frames_seen, 0).broadcast_to(own.shape), own, carried)
        decoding = self.decode(values, encoded, content, reference, self.recall(state), 0)
        logits = class_logits(self.class_embed, decoding["content"])
        following: CarriedState = {
            "content": at(decoding["content"], 0, -1),
            "reference": self.left_over(reference, at(decoding["boxes"], 0, -1)),
            "frames_seen": frames_seen + 1,
            "memory": self.remember(state, decoding, at(logits, 0, -1)),
        }
        return {"logits": logits, "decoding": decoding, "reference": reference}, following

    def encode(self, frames: ms.Tensor, padding: ms.Tensor) -> EncodedFrames:
        """frames [B, T, 3, H, W], padding bool [B, T, H, W]."""
        return encode_frames(
            frames,
            padding,
            backbone=self.backbone,
            projection=self.projection,
            position=self.position,
            level_embed=self.level_embed,
            encoder=self.encoder,
            mask_features=self.mask_features,
        )

    def values_of_frames(self, encoded: EncodedFrames, T: int) -> list[tuple[ms.Tensor, ...]]:
        """For each frame the values of all decoder layers: T tuples of D tensors [B, S, M, C / M]."""
        frames: list[tuple[ms.Tensor, ...]] = [() for _ in range(T)]
        for value in self.decoder.project(encoded["tokens"], per_frame(encoded["padding"], T)):
            parts = ops.unstack(value.reshape(-1, T, *value.shape[1:]), 1)
            for frame in range(T):
                frames[frame] += (parts[frame],)
        return frames

    def decode(
        self,
        values: tuple[ms.Tensor, ...],
        encoded: EncodedFrames,
        content: ms.Tensor,
        reference: ms.Tensor,
        memory: Memory | None,
        frame: int,
    ) -> FrameDecoding:
        """The decoder on one frame: content [B, Q, C], reference [B, Q, 2 or 4], a Memory or None."""
        position, ratios = self.query_position(content.shape[0]), encoded["valid_ratios"]
        return self.decoder(content, position, reference, values, encoded["shapes"], ratios, memory, frame)

    def masks(self, features: ms.Tensor, decoding: FrameDecoding, sizes: ms.Tensor) -> ms.Tensor:
        """The last layer's mask logits of one frame: features [B, c, h, w], sizes [B, 2] -> [B, Q, 2 h, 2 w]."""
        return self.masks_of(features, at(decoding["content"], 0, -1), at(decoding["points"], 0, -1), sizes)

    def masks_of(self, features: ms.Tensor, content: ms.Tensor, points: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        """features [F, c, h, w], content [F, N, C], points [F, N, 2], sizes [F, 2] as (h, w) -> [F, N, 2 h, 2 w]."""
        return self.dynamic_masks(features, self.controller(content), in_pixels(points, sizes))

    def initial_state(self, B: int) -> CarriedState:
        """Before the first frame of B videos."""
        content, _ = starting_queries(self.query_embed, B)
        reference = ops.zeros((B, self.num_queries, self.reference_width), ms.float32)
        stored = ops.zeros((B, *self.memory_shape), ms.float32) if self.has_memory else None
        return {
            "content": content,
            "reference": reference,
            "frames_seen": ops.zeros((), ms.int32),
            "memory": stored,
        }

    def query_position(self, B: int) -> ms.Tensor:
        """[B, Q, C], the same in every frame."""
        _, position = starting_queries(self.query_embed, B)
        return position

    def first_reference(self, query_position: ms.Tensor) -> ms.Tensor:
        """[B, Q, C] -> [B, Q, 2 or 4]."""
        return ops.sigmoid(self.reference_points(query_position))

    def propagate(self, previous: ms.Tensor, own: ms.Tensor, propagation: str) -> ms.Tensor:
        """Reference of a frame from what the frame before left, by a way of ``REFERENCE_PROPAGATIONS``: [B, Q, 2].

        With "box" that is [B, Q, 4] and the box of the frame before.
        """
        if propagation == "box":
            return previous
        # PARITY(instanceformer): the initial reference is carried on, not the refined box, so it does not follow what
        # the frame shows; the published weights were trained with this.
        if propagation == "multiply":
            return ops.sigmoid(previous * own)
        if propagation == "add":
            return ops.sigmoid(previous + own)
        return own

    def left_over(self, reference: ms.Tensor, box: ms.Tensor) -> ms.Tensor:
        """The part of a frame that the reference of the next follows from."""
        return ops.stop_gradient(box) if self.reference_propagation == "box" else reference

    def recall(self, state: CarriedState) -> Memory | None:
        """The memory as the decoder attends to it, a Memory; None in a model without."""
        if not self.has_memory:
            return None
        return recall_tokens(state["memory"], state["frames_seen"], self.width, self.mem_token_proj)

    def remember(self, state: CarriedState, decoding: FrameDecoding, logits: ms.Tensor) -> ms.Tensor | None:
        """The memory with the tokens of this frame's best queries; logits [B, Q, K] of the last layer."""
        if not self.has_memory:
            return None
        content = at(decoding["content"], 0, -1)
        rows = memory_rows(content, logits, at(decoding["boxes"], 0, -1), self.query_position(content.shape[0]))
        _, chosen = ops.topk(ops.amax(ops.sigmoid(logits), -1), self.memory_tokens, dim=-1)
        return remember_tokens(state["memory"], gather_queries(rows, chosen), state["frames_seen"])


def check_propagations(*propagations: str) -> None:
    for propagation in propagations:
        if propagation not in REFERENCE_PROPAGATIONS:
            raise ValueError(f"references are carried by one of {REFERENCE_PROPAGATIONS}, got {propagation!r}")


def check_memory(memory_frames: int, memory_tokens: int, num_queries: int) -> None:
    if memory_frames < 2 or not 1 <= memory_tokens <= num_queries:
        raise ValueError(
            f"memory needs memory_frames >= 2 and 1 <= memory_tokens <= {num_queries} queries, "
            f"got {memory_frames} and {memory_tokens}"
        )
