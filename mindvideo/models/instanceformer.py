"""InstanceFormer: an online model whose queries carry instances from one frame to the next.

Every frame is encoded alone. The decoder starts from what the queries were at the end of the frame before, so a query
keeps its instance without any matching. ``state`` below is all that passes from frame to frame: a tuple of tensors of
fixed size, (content [B, Q, C], reference [B, Q, 2 or 4], frames_seen int32 []) and, in a model with memory, the tokens
of the last frames [B, F - 1, M, X], X = C + K + 4 + C: content, class probabilities, box, position code of the query.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.models.heads.dynamic_mask import DynamicMasks, MaskFeatures
from mindvideo.models.heads.query_heads import START_SIZE_LOGIT
from mindvideo.models.layers.feature_projection import FeatureProjection
from mindvideo.models.layers.position_encoding import SinePositions2d
from mindvideo.models.transformers.deformable_encoder import DeformableEncoder, flatten_levels, valid_ratio
from mindvideo.models.transformers.memory_decoder import MemoryDecoder, inverse_sigmoid, slot_codes

REFERENCE_PROPAGATIONS = ("none", "multiply", "add", "box")
MASK_LEVELS = 3  # the three finest levels feed the masks


class InstanceFormer(nn.Cell):
    """The network. ``memory_frames`` is F: a frame sees the tokens of at most F - 1 earlier frames; 0 or M = 0: none.

    ``temporal_class_heads`` are carried for the published weights only: what they computed cancels out.
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
        channels: int,
        num_levels: int,
        num_queries: int,
        num_classes: int,
        reference_propagation: str,
        inference_propagation: str = "same",
        memory_projection: nn.Dense | None = None,
        memory_frames: int = 0,
        memory_tokens: int = 0,
        memory_mixes_clips: bool = False,
        temporal_class_heads: nn.CellList | None = None,
    ) -> None:
        super().__init__()
        if inference_propagation == "same":
            inference_propagation = reference_propagation
        for propagation in (reference_propagation, inference_propagation):
            if propagation not in REFERENCE_PROPAGATIONS:
                raise ValueError(f"references are carried by one of {REFERENCE_PROPAGATIONS}, got {propagation!r}")
        self.backbone, self.projection, self.position = backbone, projection, position
        self.encoder, self.decoder = encoder, decoder
        self.class_embed, self.controller = class_heads, controller
        self.mask_head, self.dynamic_masks = mask_features, dynamic_masks
        self.channels, self.num_queries, self.num_classes = channels, num_queries, num_classes
        self.reference_propagation, self.inference_propagation = reference_propagation, inference_propagation
        self.has_memory = memory_projection is not None
        self.memory_frames, self.memory_tokens = memory_frames, memory_tokens
        self.memory_mixes_clips = memory_mixes_clips
        if self.has_memory:
            self.mem_token_proj = memory_projection
            if memory_frames < 2 or not 1 <= memory_tokens <= num_queries:
                raise ValueError(
                    f"memory needs memory_frames >= 2 and 1 <= memory_tokens <= {num_queries} queries, "
                    f"got {memory_frames} and {memory_tokens}"
                )
        self.memory_shape = (memory_frames - 1, memory_tokens, 2 * channels + num_classes + 4)
        if temporal_class_heads is not None:
            self.temporal_class_embed = temporal_class_heads
        self.level_embed = Parameter(initializer(Normal(1.0), (num_levels, channels)), name="level_embed")
        self.query_embed = Parameter(initializer(Normal(1.0), (num_queries, 2 * channels)), name="query_embed")
        # Where boxes are carried, the references are boxes from the start.
        self.reference_width = 4 if reference_propagation == "box" else 2
        start = [0.0, 0.0] + [START_SIZE_LOGIT] * (self.reference_width - 2)
        self.reference_points = nn.Dense(
            channels, self.reference_width, weight_init="xavier_uniform", bias_init=ms.Tensor(start, ms.float32)
        )

    def construct(self, frames: ms.Tensor, padding: ms.Tensor):
        """The online procedure over a whole clip, frames [B, T, 3, H, W] and padding bool [B, T, H, W].

        Gives class logits [B, T, Q, K], boxes [B, T, Q, 4] (cxcywh in units of the valid area) and mask logits
        [B, T, Q, 2 * H8, 2 * W8], H8 = ceil(H / 8).
        """
        B, T = frames.shape[:2]
        valid = ops.cast(ops.logical_not(padding[:, 0]), ms.float32)
        sizes = ops.stack((valid[:, :, 0].sum(1), valid[:, 0, :].sum(1)), -1)  # [B, 2] as (h, w)
        spatial_shapes, ratios, flat_padding, tokens, features = self.encode(frames, padding)
        values = self.values_of_frames(tokens, flat_padding, T)
        state = self.initial_state(B)
        logits, boxes, masks = [], [], []
        for frame in range(T):
            outputs, state = self.step(values[frame], spatial_shapes, ratios, state)
            logits.append(outputs[0])
            boxes.append(outputs[1])
            masks.append(self.masks(features[:, frame], outputs[2], outputs[3], sizes))
        return ops.stack(logits, 1), ops.stack(boxes, 1), ops.stack(masks, 1)

    def encode(self, frames: ms.Tensor, padding: ms.Tensor):
        """All frames at once; they do not see each other, and the frames of a clip share their valid area.

        Gives ((H_l, W_l), ...), valid ratios [B, L, 2], padding [B, S], tokens [B * T, S, C] and mask features
        [B, T, c, H8, W8].
        """
        B, T, _, H, W = frames.shape
        C = self.channels
        maps = self.backbone(frames.reshape(B * T, 3, H, W))
        features, paddings = self.projection(maps, padding[:, 0])
        spatial_shapes, positions, ratios, flat_paddings = (), (), (), ()
        for level, level_padding in enumerate(paddings):
            h, w = level_padding.shape[-2:]
            spatial_shapes += ((h, w),)
            positions += ((self.position(level_padding).reshape(B, h * w, C) + self.level_embed[level]),)
            ratios += (valid_ratio(level_padding),)
            flat_paddings += (level_padding.reshape(B, h * w),)
        position = per_frame(ops.cat(positions, 1), T)
        flat_padding = ops.cat(flat_paddings, 1)  # [B, S]
        valid_ratios = ops.stack(ratios, 1)  # [B, L, 2]
        tokens = self.encoder(
            flatten_levels(features), position, spatial_shapes, per_frame(valid_ratios, T), per_frame(flat_padding, T)
        )
        mask_features = self.mask_head(*self.finest_maps(tokens, spatial_shapes))
        return spatial_shapes, valid_ratios, flat_padding, tokens, mask_features.reshape(B, T, *mask_features.shape[1:])

    def finest_maps(self, tokens: ms.Tensor, spatial_shapes):
        """The three finest levels of tokens [F, S, C] as maps [F, C, H_l, W_l]."""
        maps, start = (), 0
        for level in range(MASK_LEVELS):
            h, w = spatial_shapes[level]
            part = tokens[:, start : start + h * w]
            maps += (part.transpose(0, 2, 1).reshape(-1, self.channels, h, w),)
            start += h * w
        return maps

    def values_of_frames(self, tokens: ms.Tensor, flat_padding: ms.Tensor, T: int):
        """For each frame the values of all decoder layers: T tuples of D tensors [B, S, M, D']."""
        frames = [() for _ in range(T)]
        for value in self.decoder.project(tokens, per_frame(flat_padding, T)):
            parts = ops.unstack(value.reshape(-1, T, *value.shape[1:]), 1)
            for frame in range(T):
                frames[frame] += (parts[frame],)
        return frames

    def initial_state(self, B: int):
        """Before the first frame."""
        content = self.query_embed[:, self.channels :].expand_dims(0)
        content = content.broadcast_to((B, self.num_queries, self.channels))
        reference = ops.zeros((B, self.num_queries, self.reference_width), ms.float32)
        state = (content, reference, ops.zeros((), ms.int32))
        if self.has_memory:
            state += (ops.zeros((B, *self.memory_shape), ms.float32),)
        return state

    def query_position(self, B: int) -> ms.Tensor:
        """[B, Q, C], the same in every frame."""
        position = self.query_embed[:, : self.channels].expand_dims(0)
        return position.broadcast_to((B, self.num_queries, self.channels))

    def first_reference(self, query_position: ms.Tensor) -> ms.Tensor:
        return ops.sigmoid(self.reference_points(query_position))

    def next_reference(self, previous: ms.Tensor, own: ms.Tensor, propagation: str) -> ms.Tensor:
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

    def left_behind(self, reference: ms.Tensor, box: ms.Tensor) -> ms.Tensor:
        """What a frame leaves for the reference of the next."""
        return ops.stop_gradient(box) if self.reference_propagation == "box" else reference

    def decode(self, values, spatial_shapes, valid_ratios, state):
        """One frame of inference: what the decoder gives, and the first reference points [B, Q, 2]."""
        content, previous, frames_seen = state[:3]
        query_position = self.query_position(content.shape[0])
        own = self.first_reference(query_position)
        carried = self.next_reference(previous, own, self.inference_propagation)
        reference = ops.select(ops.equal(frames_seen, 0).broadcast_to(own.shape), own, carried)
        memory = self.recall(state[3], frames_seen) if self.has_memory else None
        outputs = self.decoder(content, query_position, reference, values, spatial_shapes, valid_ratios, memory, 0)
        return outputs, reference

    def step(self, values, spatial_shapes, valid_ratios, state):
        """One frame of inference: (logits [B, Q, K], boxes [B, Q, 4], content [B, Q, C], reference of the last layer,

        first reference [B, Q, 2], sampling locations of the last layer [B, Q, M, L, P, 2]) and the next state.
        """
        (contents, boxes, references, locations), reference = self.decode(values, spatial_shapes, valid_ratios, state)
        content, box, frames_seen = contents[-1], boxes[-1], state[2]
        logits = self.class_embed[-1](content)
        next_state = (content, self.left_behind(reference, box), frames_seen + 1)
        if self.has_memory:
            chosen = ops.topk(ops.amax(ops.sigmoid(logits), -1), self.memory_tokens, dim=-1)[1]
            rows = self.memory_rows(content, logits, box, self.query_position(content.shape[0]))
            next_state += (remember(state[3], gather_queries(rows, chosen), frames_seen),)
        return (logits, box, content, references[-1], reference, locations), next_state

    def memory_rows(self, content, logits, boxes, query_position):
        """What a memory token would hold of each query: [B, Q, X]."""
        return ops.cat((content, ops.sigmoid(logits), boxes, query_position), -1)

    def recall(self, stored: ms.Tensor, frames_seen: ms.Tensor):
        """Stored tokens [B, F - 1, M, X] -> keys and values [B, (F - 1) * M, C], which to ignore, is there any."""
        B, slots, M, _ = stored.shape
        keys, values = self.keys_and_values(stored, slots)
        ignored = ops.arange(slots).expand_dims(-1).broadcast_to((slots, M)).reshape(1, slots * M) >= frames_seen
        return keys, values, ignored.broadcast_to((B, slots * M)), ops.greater(frames_seen, 0)

    def keys_and_values(self, stored: ms.Tensor, span: int):
        """Tokens [B, slots, M, X], oldest first -> keys and values [B, slots * M, C]; ``span`` scales the time code."""
        B, slots, M, width = stored.shape
        rows = width - self.channels
        tokens = self.mem_token_proj(stored[..., :rows])
        code = slot_code_tensor(slots, span, self.channels).reshape(1, slots, 1, self.channels)
        keys = tokens + (stored[..., rows:] + code)
        shape = (B, slots * M, self.channels)
        return keys.reshape(shape), tokens.reshape(shape)

    def masks(self, features: ms.Tensor, content: ms.Tensor, reference: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        """features [F, c, H8, W8], content [F, N, C], reference [F, N, 2 or 4], sizes [F, 2] as (h, w): logits

        [F, N, 2 * H8, 2 * W8].
        """
        points = ops.sigmoid(inverse_sigmoid(reference[..., :2]))
        height_width = ops.cast(sizes, ms.float32)
        pixels = points * ops.stack((height_width[:, 1], height_width[:, 0]), -1).expand_dims(1)
        return self.dynamic_masks(features, self.controller(content), pixels)


@ops.constexpr
def slot_code_tensor(num_slots: int, span: int, channels: int) -> ms.Tensor:
    return ms.Tensor(slot_codes(num_slots=num_slots, span=span, channels=channels))


def per_frame(of_clip: ms.Tensor, T: int) -> ms.Tensor:
    """[B, ...] -> [B * T, ...], each clip's row once for each of its frames."""
    B, rest = of_clip.shape[0], of_clip.shape[1:]
    return of_clip.expand_dims(1).broadcast_to((B, T, *rest)).reshape(B * T, *rest)


def gather_queries(rows: ms.Tensor, chosen: ms.Tensor) -> ms.Tensor:
    """rows [B, Q, X], chosen int [B, M] -> [B, M, X]."""
    B, Q, X = rows.shape
    flat = chosen + (ops.arange(B) * Q).expand_dims(-1).astype(chosen.dtype)
    return ops.gather(rows.reshape(B * Q, X), flat, 0)


def remember(stored: ms.Tensor, tokens: ms.Tensor, frames_seen: ms.Tensor) -> ms.Tensor:
    """Put tokens [B, M, X] behind the newest of stored [B, F - 1, M, X]; when it is full the oldest make room."""
    slots = stored.shape[1]
    new = tokens.expand_dims(1)
    moved = ops.cat((stored[:, 1:], new), 1)
    here = ops.equal(ops.arange(slots), frames_seen).reshape(1, slots, 1, 1).broadcast_to(stored.shape)
    placed = ops.select(here, new.broadcast_to(stored.shape), stored)
    return ops.select((frames_seen >= slots).broadcast_to(stored.shape), moved, placed)
