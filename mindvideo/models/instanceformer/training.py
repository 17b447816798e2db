"""InstanceFormer on a clip with targets: all frames, the matching, and every loss term, in one graph."""

from __future__ import annotations

from typing import Any, TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.models.instanceformer.memory import gather_queries, memory_rows, read_tokens
from mindvideo.models.instanceformer.network import InstanceFormer
from mindvideo.modules.encoded_frames import EncodedFrames, class_logits, per_frame
from mindvideo.modules.encoded_training import EncodedTraining
from mindvideo.modules.layers.row_order import LeadingAxes
from mindvideo.modules.training_parts import Tensors, TrainingClip
from mindvideo.modules.transformers.memory_decoder import Memory
from mindvideo.modules.values import Predictions, Targets
from mindvideo.ops.slices import at, swapped


class Samples(TypedDict):
    """Remembered queries of all frames, for the contrastive term."""

    features: ms.Tensor  # [B, S, C]
    identities: ms.Tensor  # int [B, S], the query's number where it is matched, -1 for all others


class MatchedClip(TypedDict):
    """A clip as the criterion takes it."""

    predictions: Predictions  # masks are made for the matched queries only, so not here
    query: ms.Tensor  # int [D, B, N], of each instance; -1 for none
    masks: ms.Tensor  # logits [D, B, N, T, h, w], of the matched queries
    samples: Samples | None


class InstanceFormerTraining(EncodedTraining):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    ``pixels`` turns bytes into frames; ``matcher`` decides on the first frame which query has which instance, or with
    ``match_whole_clip`` on all frames (a model with memory needs it on the first: it remembers the matched queries).
    ``aux_masks_from_last_layer`` reproduces how the published models were trained: from the second frame on, the mask
    of an earlier decoder layer was that of the query the *last* layer had matched.
    """

    def __init__(
        self,
        *,
        network: InstanceFormer,
        pixels: nn.Cell,
        matcher: nn.Cell,
        criterion: nn.Cell,
        match_whole_clip: bool,
        aux_masks_from_last_layer: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.criterion = matcher, criterion
        self.match_whole_clip = match_whole_clip
        self.aux_masks_from_last_layer = aux_masks_from_last_layer
        self.term_names = criterion.term_names
        self.by_layer = LeadingAxes(2, 0, 3, 1)  # [B, T, D, N, ...] -> [D, B, N, T, ...]

    def construct(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        frames, padding = self.pixels(images, sizes)
        targets: Targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        return self.losses(self.unroll(frames, padding, sizes, targets), targets)

    def losses(self, clip: MatchedClip, targets: Targets) -> tuple[ms.Tensor, ms.Tensor]:
        """(total [], terms [n])."""
        return self.criterion(clip["predictions"], targets, clip["query"], clip["masks"], clip["samples"])

    def unroll(self, frames: ms.Tensor, padding: ms.Tensor, sizes: ms.Tensor, targets: Targets) -> MatchedClip:
        """All frames in order: frames [B, T, 3, H, W], padding bool [B, T, H, W], sizes [B, 2] as (h, w)."""
        return self.follow(self.network.encode(frames, padding), sizes, targets)

    def learn(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """As ``construct``, from what :meth:`encode` gave."""
        encoded, targets = self.encoded(values, clip), clip["targets"]
        total, terms = self.losses(self.follow(encoded, clip["sizes"], targets), targets)
        return total, terms, ()

    def follow(self, encoded: EncodedFrames, sizes: ms.Tensor, targets: Targets) -> MatchedClip:
        """The decoder from frame to frame, the matching, and the masks."""
        network = self.network
        B, T = encoded["mask_features"].shape[:2]
        values = network.values_of_frames(encoded, T)
        own = network.first_reference(network.query_position(B))
        content, left = network.initial_state(B)["content"], own
        query: Any = None  # int [D, B, N], from the first frame or, to match whole clips, from all of them
        contents, boxes, points = [], [], []
        tokens: list[ms.Tensor] = []
        samples: list[tuple[ms.Tensor, ms.Tensor]] = []
        for frame in range(T):
            reference = own if frame == 0 else network.propagate(left, own, network.reference_propagation)
            memory = self.recall(tokens, T) if network.has_memory and frame > 0 else None
            decoding = network.decode(values[frame], encoded, content, reference, memory, frame)
            content, left = at(decoding["content"], 0, -1), network.left_over(reference, at(decoding["boxes"], 0, -1))
            contents.append(decoding["content"])
            boxes.append(decoding["boxes"])
            points.append(decoding["points"])
            if frame == 0 and not self.match_whole_clip:
                query = self.match(decoding["content"].expand_dims(3), decoding["boxes"].expand_dims(3), targets)
            if network.has_memory:
                logits = network.class_embed[-1](content)
                chosen = self.choose_tokens(logits, at(query, 0, -1), frame)
                rows = memory_rows(content, logits, at(decoding["boxes"], 0, -1), network.query_position(B))
                # PARITY(instanceformer): what is remembered is a constant; no gradient flows through the memory.
                tokens.append(ops.stop_gradient(gather_queries(rows, chosen)))
                samples.append((gather_queries(content, chosen), identities(chosen, at(query, 0, -1))))
        contents = ops.stack(contents, 3)  # [D, B, Q, T, C]
        predictions: Predictions = {
            "logits": class_logits(network.class_embed, contents),
            "boxes": ops.stack(boxes, 3),
            "masks": None,
        }
        if self.match_whole_clip:
            query = self.matcher(predictions, targets)
        masks = self.mask_logits(contents, ops.stack(points, 3), encoded["mask_features"], query, sizes)
        return {"predictions": predictions, "query": query, "masks": masks, "samples": joined(samples)}

    def match(self, contents: ms.Tensor, boxes: ms.Tensor, targets: Targets) -> ms.Tensor:
        """contents [D, B, Q, T, C] and boxes [D, B, Q, T, 4] of the first frame or of all."""
        return self.matcher({"logits": class_logits(self.network.class_embed, contents), "boxes": boxes}, targets)

    def recall(self, tokens: list[ms.Tensor], T: int) -> Memory:
        """Tokens of the frames so far, a list of [B, N, X] -> the Memory that a decoder layer attends to."""
        keys, values = read_tokens(ops.stack(tokens, 1), T, self.network.width, self.network.mem_token_proj)
        if self.network.memory_mixes_clips:
            keys, values = mix_clips(keys), mix_clips(values)
        return {"keys": keys, "values": values, "ignored": None, "any_valid": None}

    def choose_tokens(self, logits: ms.Tensor, query: ms.Tensor, frame: int) -> ms.Tensor:
        """Queries to remember of a frame, int [B, S]: the matched ones in order, then the best scored others.

        ``frame`` is there for a reader that replays a stored choice.
        """
        Q = logits.shape[1]
        scores = ops.amax(ops.sigmoid(ops.stop_gradient(logits)), -1)
        is_matched = is_among(Q, query)
        in_order = (2.0 + ops.cast(ops.arange(Q - 1, -1, -1), ms.float32)).broadcast_to(scores.shape)
        return ops.topk(ops.select(is_matched, in_order, scores), self.network.memory_tokens, dim=-1)[1]

    def mask_logits(
        self, contents: ms.Tensor, points: ms.Tensor, features: ms.Tensor, query: ms.Tensor, sizes: ms.Tensor
    ) -> ms.Tensor:
        """contents [D, B, Q, T, C], points [D, B, Q, T, 2], features [B, T, c, h, w] -> [D, B, N, T, 2 h, 2 w]."""
        B, T = features.shape[:2]
        D, _, N = query.shape
        rows = self.mask_queries(query, T)
        contents = take(contents, rows).transpose(1, 3, 0, 2, 4).reshape(B * T, D * N, -1)
        points = take(points, rows).transpose(1, 3, 0, 2, 4).reshape(B * T, D * N, 2)
        flat_features = features.reshape(B * T, *features.shape[2:])
        masks = self.network.masks_of(flat_features, contents, points, per_frame(sizes, T))
        return self.by_layer(masks.reshape(B, T, D, N, *masks.shape[2:]))

    def mask_queries(self, query: ms.Tensor, T: int) -> ms.Tensor:
        """Whose mask is compared with each instance in each frame: int [D, B, N, T]; 0 where there is no instance."""
        D, B, N = query.shape
        own = ops.maximum(query, ops.zeros_like(query)).expand_dims(3).broadcast_to((D, B, N, T))
        if not self.aux_masks_from_last_layer:
            return own
        # PARITY(instanceformer): from the second frame on, the n-th query of the last layer's matches, in ascending
        # order, takes the place of the n-th of this layer's, whichever instance that one belongs to.
        far = ops.select(query < 0, ops.full_like(query, self.network.num_queries), query)
        ordered = ops.cast(ops.sort(ops.cast(far, ms.float32), axis=-1)[0], ms.int32)
        rank = ops.sum(ops.cast(query.expand_dims(-1) > far.expand_dims(-2), ms.int32), -1)
        last = at(ordered, 0, -1).expand_dims(0).broadcast_to(query.shape)
        theirs = ops.sum(ops.cast(ops.one_hot(rank, N), ms.int32) * last.expand_dims(-2), -1)
        theirs = ops.select(query < 0, ops.zeros_like(query), theirs).expand_dims(3)
        later = (ops.arange(T) > 0).reshape(1, 1, 1, T).broadcast_to(own.shape)
        return ops.select(later, theirs.broadcast_to(own.shape), own)


def joined(samples: list[tuple[ms.Tensor, ms.Tensor]]) -> Samples | None:
    """Features [B, S, C] and identities [B, S] of each frame -> those of all frames; None for fewer than two frames."""
    if len(samples) < 2:
        return None
    features, labels = [], []
    for feature, label in samples:
        features.append(feature)
        labels.append(label)
    return {"features": ops.cat(features, 1), "identities": ops.cat(labels, 1)}


def take(rows: ms.Tensor, query: ms.Tensor) -> ms.Tensor:
    """rows [D, B, Q, T, X], the query of each instance in each frame int [D, B, N, T] -> [D, B, N, T, X]."""
    D, B, Q, T, X = rows.shape
    starts = (ops.arange(D * B) * (Q * T)).reshape(D, B, 1, 1) + ops.arange(T).reshape(1, 1, 1, T)
    return ops.gather(rows.reshape(D * B * Q * T, X), query * T + ops.cast(starts, query.dtype), 0)


def is_among(Q: int, query: ms.Tensor) -> ms.Tensor:
    """query int [B, N] (-1: none) -> bool [B, Q]."""
    return ops.equal(ops.cast(ops.arange(Q), query.dtype).reshape(1, 1, Q), query.expand_dims(-1)).any(1)


def identities(chosen: ms.Tensor, query: ms.Tensor) -> ms.Tensor:
    """chosen int [B, S] -> the query's own number where it is matched, one shared number (-1) for all others."""
    is_matched = ops.equal(chosen.expand_dims(-1), ops.cast(query.expand_dims(1), chosen.dtype)).any(-1)
    return ops.select(is_matched, chosen, ops.full_like(chosen, -1))


def mix_clips(tokens: ms.Tensor) -> ms.Tensor:
    """[B, S, C] -> the same numbers in memory read as [S, B, C], given as [B, S, C]."""
    # PARITY(instanceformer): the published training handed its attention a batch-first array as if length came first.
    B, S, C = tokens.shape
    return swapped(tokens.reshape(S, B, C), 0, 1)
