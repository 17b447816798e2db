"""MS-STS VIS on a clip with targets: SeqFormer's losses, and a discriminator that learns against the network."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.models.mssts.network import MSSTS
from mindvideo.modules.clip_queries import match_clip
from mindvideo.modules.encoded_frames import EncodedFrames, finest_maps, per_frame
from mindvideo.modules.encoded_training import EncodedTraining
from mindvideo.modules.heads.patch_discriminator import PatchDiscriminator
from mindvideo.modules.training_parts import Tensors, TrainingClip
from mindvideo.modules.values import Targets
from mindvideo.ops.slices import at


class Discrimination(nn.Cell):
    """The discriminator and its loss.

    ``construct(frames [F, 3, h, w], fine, middle, coarse [F, C, h, w] ..., annotated, predicted [F, 1, h, w], counts
    [F])`` gives its loss [] and the values that ``value_names`` names: that loss, and the mean probabilities that it
    gives annotated and predicted masks. ``counts`` is 1 for the frames that teach, 0 for the others.
    """

    value_names = ("discriminator_loss", "discriminator_of_annotated", "discriminator_of_predicted")
    beaten_by = 0  # the value that is next to nothing when the discriminator wins outright

    def __init__(self, *, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def construct(
        self,
        frames: ms.Tensor,
        fine: ms.Tensor,
        middle: ms.Tensor,
        coarse: ms.Tensor,
        annotated: ms.Tensor,
        predicted: ms.Tensor,
        counts: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        of_annotated, of_predicted = self.discriminator(frames, (fine, middle, coarse), annotated, predicted)
        loss = mean_of_frames(softplus(-of_annotated) + softplus(of_predicted), counts)
        scores = mean_of_frames(ops.sigmoid(of_annotated), counts), mean_of_frames(ops.sigmoid(of_predicted), counts)
        return loss, ops.stack((loss, *scores))


class MSSTSTraining(EncodedTraining):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    With an ``opponent`` (None without adversarial training) ``play`` gives besides what the opponent learns from, see
    training/opponent.py. ``adversarial_weight``: of the term that the network has for not deceiving it.
    ``mask_scale``: cells of the masks in a cell of the finest map, in each direction.
    """

    def __init__(
        self,
        *,
        network: MSSTS,
        pixels: nn.Cell,
        matcher: nn.Cell,
        criterion: nn.Cell,
        opponent: Discrimination | None,
        adversarial_weight: float,
        mask_scale: int = 2,
    ) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.criterion = matcher, criterion
        self.opponent, self.adversarial_weight, self.mask_scale = opponent, adversarial_weight, mask_scale
        self.term_names = (*criterion.term_names, *(() if opponent is None else ("loss_adversarial",)))

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
        total, terms, _ = self.play(images, sizes, labels, boxes, masks, present, exists)
        return total, terms

    def play(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, tuple[ms.Tensor, ...]]:
        """(total [], terms [n], what the opponent's ``construct`` takes; nothing without one)."""
        frames, padding = self.pixels(images, sizes)
        targets: Targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        return self.losses(frames, self.network.encode(frames, padding), sizes, targets)

    def learn(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """As ``play``, from what :meth:`encode` gave."""
        encoded = self.encoded(values, clip)
        return self.losses(clip["frames"], encoded, clip["sizes"], clip["targets"])

    def losses(
        self, frames: ms.Tensor, encoded: EncodedFrames, sizes: ms.Tensor, targets: Targets
    ) -> tuple[ms.Tensor, ms.Tensor, tuple[ms.Tensor, ...]]:
        """SeqFormer's losses, with an opponent also that of not deceiving it; and what it learns from."""
        clip = match_clip(self.network, self.matcher, encoded, sizes, targets)
        total, terms = self.criterion(clip["predictions"], targets, clip["query"], clip["masks"])
        if self.opponent is None:
            return total, terms, ()
        seen = self.seen(frames, encoded, at(clip["query"], 0, -1), at(clip["masks"], 0, -1), targets)
        small, features, annotated, predicted, counts = seen
        [logits] = self.opponent.discriminator(small, features, predicted)
        deceived = mean_of_frames(softplus(-logits), counts)
        total = total + self.adversarial_weight * deceived
        material = (small, *features, annotated, predicted, counts)
        return total, ops.concat((terms, deceived.reshape(1))), material

    def seen(
        self, frames: ms.Tensor, encoded: EncodedFrames, query: ms.Tensor, mask_logits: ms.Tensor, targets: Targets
    ) -> tuple[ms.Tensor, tuple[ms.Tensor, ...], ms.Tensor, ms.Tensor, ms.Tensor]:
        """Frames, features, annotated and predicted masks at the finest level, and the frames that count.

        query int [B, N], mask_logits [B, N, T, 2 h, 2 w], of the last decoder layer.
        """
        B, T, _, H, W = frames.shape
        shapes = encoded["shapes"]
        h, w = shapes[0]
        small = ops.avg_pool2d(frames.reshape(B * T, 3, H, W), (H // h, W // w), (H // h, W // w))
        valid = 1.0 - ops.cast(per_frame(encoded["padding"], T), ms.float32)
        features = finest_maps(encoded["tokens"] * valid.expand_dims(-1), shapes)
        present = ops.cast(ops.logical_and(targets["present"], targets["exists"].expand_dims(-1)), ms.float32)
        taken = ops.cast(query >= 0, ms.float32)
        annotated = ops.cast(targets["masks"], ms.float32) * present.reshape(*present.shape, 1, 1)
        predicted = ops.sigmoid(mask_logits) * taken.reshape(*taken.shape, 1, 1, 1)
        counts = ops.amax(present, 1).reshape(B * T)
        inside = valid[:, : h * w].reshape(B * T, 1, h, w)
        return small, features, self.united(annotated) * inside, self.united(predicted) * inside, counts

    def united(self, masks: ms.Tensor) -> ms.Tensor:
        """[B, N, T, 2 h, 2 w] in 0..1 -> of all instances together, in cells of the finest map, [B * T, 1, h, w]."""
        B, _, T, height, width = masks.shape
        together = ops.amax(masks, 1).reshape(B * T, 1, height, width)
        return ops.avg_pool2d(together, self.mask_scale, self.mask_scale)


def softplus(logits: ms.Tensor) -> ms.Tensor:
    """log(1 + e^x), without overflow for any finite x, and with its slope everywhere, 1/2 at 0."""
    shift = ops.stop_gradient(ops.relu(logits))
    return shift + ops.log(ops.exp(-shift) + ops.exp(logits - shift))


def mean_of_frames(maps: ms.Tensor, counts: ms.Tensor) -> ms.Tensor:
    """[F, 1, h, w] -> the mean over all cells of the frames whose count is 1, counts [F]; 0 without any."""
    of_frames = maps.reshape(maps.shape[0], -1).mean(-1)
    return ops.sum(of_frames * counts) / ops.maximum(ops.sum(counts), ms.Tensor(1.0, ms.float32))
