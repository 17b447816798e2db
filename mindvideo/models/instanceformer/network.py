"""InstanceFormer: an online model whose queries carry instances from one frame to the next.

Every frame is encoded alone. The decoder starts from what the queries were at the end of the frame before, so a query
keeps its instance without any matching. ``state`` below is all that passes from frame to frame: a tuple of tensors of
fixed size, (content [B, Q, C], reference [B, Q, 2 or 4], frames_seen int32 []) and, in a model with memory, the tokens
of the last frames [B, F - 1, M, X], X = C + K + 4 + C: content, class probabilities, box, position code of the query.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.encoded_frames import EncodedFrames, frame_sizes, per_frame
from mindvideo.modules.heads.query_heads import START_SIZE_LOGIT
from mindvideo.modules.transformers.memory_decoder import MemoryDecoder, slot_codes

REFERENCE_PROPAGATIONS = ("none", "multiply", "add", "box")


class InstanceFormer(EncodedFrames):
    """The network; ``of_frames`` are the arguments of :class:`EncodedFrames`. ``memory_frames`` is F: a frame sees the
    tokens of at most F - 1 earlier frames; 0 or M = 0: none.

    ``temporal_class_heads`` are carried for the published weights only: what they computed cancels out.
    ``memory_mixes_clips`` reproduces how the published models were trained with several clips a batch.
    """

    def __init__(
        self,
        *,
        decoder: MemoryDecoder,
        class_heads: nn.CellList,
        channels: int,
        num_queries: int,
        num_classes: int,
        reference_propagation: str,
        inference_propagation: str = "same",
        memory_projection: nn.Dense | None = None,
        memory_frames: int = 0,
        memory_tokens: int = 0,
        memory_mixes_clips: bool = False,
        temporal_class_heads: nn.CellList | None = None,
        **of_frames,
    ) -> None:
        super().__init__(channels=channels, num_queries=num_queries, **of_frames)
        if inference_propagation == "same":
            inference_propagation = reference_propagation
        for propagation in (reference_propagation, inference_propagation):
            if propagation not in REFERENCE_PROPAGATIONS:
                raise ValueError(f"references are carried by one of {REFERENCE_PROPAGATIONS}, got {propagation!r}")
        self.decoder, self.class_embed = decoder, class_heads
        self.num_classes = num_classes
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
        sizes = frame_sizes(padding)
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
        content = self.start_content(B)
        reference = ops.zeros((B, self.num_queries, self.reference_width), ms.float32)
        state = (content, reference, ops.zeros((), ms.int32))
        if self.has_memory:
            state += (ops.zeros((B, *self.memory_shape), ms.float32),)
        return state

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


@ops.constexpr
def slot_code_tensor(num_slots: int, span: int, channels: int) -> ms.Tensor:
    return ms.Tensor(slot_codes(num_slots=num_slots, span=span, channels=channels))


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
