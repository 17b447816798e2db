"""InstanceFormer on a clip with targets: all frames, the matching on the first, and every loss term, in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.models.instanceformer.network import InstanceFormer, gather_queries


class InstanceFormerTraining(nn.Cell):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    ``pixels`` turns bytes into frames; ``matcher`` and ``criterion`` as :class:`FrameMatcher` and
    :class:`FrameSetCriterion`; ``reduce_count`` averages the number of instances over the processes of a run.
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
        reduce_count: nn.Cell,
        aux_masks_from_last_layer: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.criterion, self.reduce_count = matcher, criterion, reduce_count
        self.aux_masks_from_last_layer = aux_masks_from_last_layer
        self.term_names = criterion.term_names

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        frames, padding = self.pixels(images, sizes)
        predictions, samples = self.unroll(frames, padding, sizes, labels, boxes, exists, present)
        return self.losses(predictions, samples, labels, boxes, masks, present, exists)

    def losses(self, predictions, samples, labels, boxes, masks, present, exists):
        masks = ops.cast(masks, ms.float32)
        targets = (labels, boxes, masks.reshape(*masks.shape[:3], -1), present, exists)
        count = self.reduce_count(ops.cast(exists, ms.float32).sum())
        return self.criterion(predictions, targets, ops.maximum(count, ms.Tensor(1.0, ms.float32)), samples)

    def unroll(self, frames, padding, sizes, labels, boxes, exists, present=None):
        """All frames in order; the predictions and samples that the criterion takes."""
        network = self.network
        B, T = frames.shape[:2]
        spatial_shapes, ratios, flat_padding, tokens, features = network.encode(frames, padding)
        values = network.values_of_frames(tokens, flat_padding, T)
        query_position = network.query_position(B)
        own = network.first_reference(query_position)
        content, reference, left, matched = network.initial_state(B)[0], own, own, None
        contents, frame_boxes, references, stored, samples = [], [], [], [], []
        for frame in range(T):
            memory = None
            if frame > 0:
                reference = network.next_reference(left, own, network.reference_propagation)
                memory = self.recall(stored, T) if network.has_memory else None
            outputs = network.decoder(
                content, query_position, reference, values[frame], spatial_shapes, ratios, memory, frame
            )
            content = outputs[0][-1]
            left = network.left_behind(reference, outputs[1][-1])
            contents.append(ops.stack(outputs[0], 0))  # [D, B, Q, C]
            frame_boxes.append(ops.stack(outputs[1], 0))
            references.append(as_boxes(outputs[2]))
            if frame == 0 and not self.matcher.whole_clip:
                matched = self.matcher(self.class_logits(contents[0]), frame_boxes[0], labels, boxes[:, :, 0], exists)
            if network.has_memory:
                logits = network.class_embed[-1](content)
                chosen = self.choose_tokens(logits, matched[-1], frame)
                rows = network.memory_rows(content, logits, outputs[1][-1], query_position)
                # PARITY(instanceformer): what is remembered is a constant; no gradient flows through the memory.
                stored.append(ops.stop_gradient(gather_queries(rows, chosen)))
                samples.append((gather_queries(content, chosen), identities(chosen, matched[-1])))
        contents, frame_boxes = ops.stack(contents, 2), ops.stack(frame_boxes, 2)  # [D, B, T, Q, C or 4]
        logits = self.class_logits(contents)
        if self.matcher.whole_clip:
            matched = self.matcher(logits, frame_boxes, labels, boxes, exists, present)
        query = self.clamped(matched, T)
        masks = self.mask_logits(contents, ops.stack(references, 2), features, matched, query, sizes)
        return (logits, take(frame_boxes, query), masks, matched), self.joined(samples)

    def class_logits(self, contents):
        """contents [D, ..., C] -> [D, ..., K], each layer by its own head."""
        logits = []
        for layer, head in enumerate(self.network.class_embed):
            logits.append(head(contents[layer]))
        return ops.stack(logits, 0)

    def recall(self, stored, T: int):
        """Tokens of the frames so far, a list of [B, M, X] -> the memory a decoder layer takes."""
        keys, values = self.network.keys_and_values(ops.stack(stored, 1), T)
        if self.network.memory_mixes_clips:
            keys, values = mix_clips(keys), mix_clips(values)
        return keys, values, None, None

    def choose_tokens(self, logits, matched, frame: int):
        """Queries to remember of a frame, int [B, M]: the matched ones in order, then the best scored others.

        ``frame`` is there for a reader that replays a stored choice.
        """
        Q = logits.shape[1]
        scores = ops.amax(ops.sigmoid(ops.stop_gradient(logits)), -1)
        is_matched = is_among(Q, matched)
        in_order = (2.0 + ops.arange(Q - 1, -1, -1).astype(ms.float32)).broadcast_to(scores.shape)
        return ops.topk(ops.select(is_matched, in_order, scores), self.network.memory_tokens, dim=-1)[1]

    def joined(self, samples):
        """Features [B, T * M, C] and identities [B, T * M] of the remembered queries of all frames."""
        if len(samples) < 2:
            return None
        features, labels = [], []
        for feature, label in samples:
            features.append(feature)
            labels.append(label)
        return ops.cat(features, 1), ops.cat(labels, 1)

    def clamped(self, matched, T: int):
        """The query of each instance on each frame, [D, B, T, N]; 0 where there is no instance."""
        D, B, N = matched.shape
        return ops.maximum(matched, ops.zeros_like(matched)).expand_dims(2).broadcast_to((D, B, T, N))

    def mask_logits(self, contents, references, features, matched, query, sizes):
        """[D, B, T, N, P]: contents [D, B, T, Q, C], references [D, B, T, Q, 4], features [B, T, c, H8, W8]."""
        D, B, T, N = query.shape
        if self.aux_masks_from_last_layer:
            query = self.mask_queries(matched, query)
        contents = take(contents, query).transpose(1, 2, 0, 3, 4).reshape(B * T, D * N, -1)
        references = take(references, query).transpose(1, 2, 0, 3, 4).reshape(B * T, D * N, 4)
        frame_sizes = sizes.expand_dims(1).broadcast_to((B, T, 2)).reshape(B * T, 2)
        flat_features = features.reshape(B * T, *features.shape[2:])
        masks = self.network.masks(flat_features, contents, references, frame_sizes)
        return masks.reshape(B, T, D, N, -1).transpose(2, 0, 1, 3, 4)

    def mask_queries(self, matched, query):
        """Whose mask is compared with each instance: [D, B, T, N], the last layer's query from the second frame on."""
        # PARITY(instanceformer): the n-th query of the last layer's matches, in ascending order, takes the place of the
        # n-th of this layer's, whichever instance that one belongs to.
        N = matched.shape[-1]
        far = ops.select(matched < 0, ops.full_like(matched, self.network.num_queries), matched)
        ordered = ops.sort(far.astype(ms.float32), axis=-1)[0].astype(ms.int32)
        place = (matched.expand_dims(-1) > far.expand_dims(-2)).astype(ms.int32).sum(-1)
        last = ordered[-1].expand_dims(0).broadcast_to(matched.shape)
        theirs = (ops.one_hot(place, N).astype(ms.int32) * last.expand_dims(-2)).sum(-1)
        theirs = ops.select(matched < 0, ops.zeros_like(matched), theirs).expand_dims(2)
        later = (ops.arange(query.shape[2]) > 0).reshape(1, 1, -1, 1).broadcast_to(query.shape)
        return ops.select(later, theirs.broadcast_to(query.shape), query)


def as_boxes(references):
    """References of all layers as [D, B, Q, 4]; the first layer's points get a size that nobody reads."""
    boxes = []
    for reference in references:
        if reference.shape[-1] == 2:
            reference = ops.cat((reference, ops.zeros_like(reference)), -1)
        boxes.append(reference)
    return ops.stack(boxes, 0)


def take(rows: ms.Tensor, query: ms.Tensor) -> ms.Tensor:
    """rows [D, B, T, Q, X], query int [D, B, T, N] -> [D, B, T, N, X]."""
    D, B, T, Q, X = rows.shape
    starts = (ops.arange(D * B * T) * Q).reshape(D, B, T, 1).astype(query.dtype)
    return ops.gather(rows.reshape(D * B * T * Q, X), query + starts, 0)


def is_among(Q: int, matched: ms.Tensor) -> ms.Tensor:
    """matched int [B, N] (-1: none) -> bool [B, Q]."""
    return ops.equal(ops.arange(Q).astype(matched.dtype).reshape(1, 1, Q), matched.expand_dims(-1)).any(1)


def identities(chosen: ms.Tensor, matched: ms.Tensor) -> ms.Tensor:
    """chosen int [B, M] -> the query's own number where it is matched, one shared number (-1) for all others."""
    is_matched = ops.equal(chosen.expand_dims(-1), matched.expand_dims(1).astype(chosen.dtype)).any(-1)
    return ops.select(is_matched, chosen, ops.full_like(chosen, -1))


def mix_clips(tokens: ms.Tensor) -> ms.Tensor:
    """[B, R, C] -> the same numbers in memory read as [R, B, C], given as [B, R, C]."""
    # PARITY(instanceformer): the published training handed its attention a batch-first array as if length came first.
    B, R, C = tokens.shape
    return tokens.reshape(R, B, C).swapaxes(0, 1)
