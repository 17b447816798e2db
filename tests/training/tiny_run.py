"""A network, a criterion and data so small that a training graph compiles in a second or two."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import mindspore.dataset as ms_dataset
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from mindvideo.modules.layers.dropout import Dropout, seed_dropout
from mindvideo.run_folder import RunFolder
from mindvideo.structures.clip import CLIP_BATCH_COLUMNS
from mindvideo.training.ema import WeightAverage
from mindvideo.training.opponent import OWNER, Opponent
from mindvideo.training.optimizer import build_optimizer
from mindvideo.training.parameter_groups import ParameterGroup, assign_parameters
from mindvideo.training.train_step import TrainStep
from mindvideo.training.trainer import Trainer, TrainerOptions, TrainingData

T, H, W, N = 2, 4, 4, 3
WIDTH = 8


class TinyNetwork(nn.Cell):
    """Pixel means through two dense layers with dropout: one box an instance slot."""

    def __init__(self, *, dropout: float = 0.1, seed: int = 0, norm: nn.Cell | None = None) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)

        def weight(*shape):
            return Tensor((rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32))

        self.backbone = nn.Dense(T * 3, WIDTH, weight_init=weight(WIDTH, T * 3), bias_init="zeros")
        self.norm = norm
        self.dropout = Dropout(dropout)
        self.sampling_offsets = nn.Dense(WIDTH, WIDTH, weight_init=weight(WIDTH, WIDTH), bias_init="zeros")
        self.head = nn.Dense(WIDTH, N * T * 4, weight_init=weight(N * T * 4, WIDTH), bias_init="zeros")
        self.unused = Parameter(Tensor(np.ones(2, np.float32)), name="unused", requires_grad=False)

    def construct(self, images):
        """images uint8 [B, T, H, W, 3] -> boxes [B, N, T, 4]."""
        means = images.astype(ms.float32).mean(axis=(2, 3)) / 255.0
        hidden = ops.tanh(self.backbone(means.reshape(images.shape[0], -1)))
        if self.norm is not None:
            hidden = self.norm(hidden)
        hidden = self.dropout(ops.tanh(self.sampling_offsets(hidden)))
        return self.head(hidden).reshape(images.shape[0], N, T, 4)


class TinyTraining(nn.Cell):
    """Box losses over existing instances, divided by their number averaged over the processes."""

    term_names = ("loss_bbox", "loss_square")

    def __init__(self, network: nn.Cell, reduce_count: nn.Cell | None = None) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.reduce_count = reduce_count

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        error = (self.network(images) - boxes) * exists.astype(ms.float32)[:, :, None, None]
        count = exists.astype(ms.float32).sum()
        if self.reduce_count is not None:
            count = self.reduce_count(count)
        count = ops.maximum(count, Tensor(1.0, ms.float32))
        bbox = ops.sqrt(error * error + 1e-6).sum() / count
        square = (error * error).sum() / count
        return bbox + 2.0 * square, ops.stack((bbox, square))


class TinyPlayer(nn.Cell):
    """Tells predicted boxes [B, N, T, 4] from true ones."""

    value_names = ("opponent_loss", "opponent_score")

    def __init__(self) -> None:
        super().__init__()
        weight = np.random.default_rng(3).standard_normal((1, N * T * 4)).astype(np.float32)
        self.head = nn.Dense(N * T * 4, 1, weight_init=Tensor(0.1 * weight), bias_init="zeros")

    def score(self, boxes):
        return self.head(boxes.reshape(boxes.shape[0], -1))

    def construct(self, made, real, factor=1.0):
        loss = (ops.log1p(ops.exp(self.score(made))) + ops.log1p(ops.exp(-self.score(real)))).mean() * factor
        return loss, ops.stack((loss, self.score(made).mean()))


class TinyAdversarial(nn.Cell):
    """TinyTraining with an opponent; a negative size stands for a loss of the opponent that is not finite."""

    term_names = (*TinyTraining.term_names, "loss_adversarial")

    def __init__(self, network: nn.Cell, reduce_count: nn.Cell | None = None) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.losses = network, TinyTraining(network, reduce_count)
        self.opponent = TinyPlayer()
        self.opponent.update_parameters_name("opponent.")

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        total, terms, _ = self.play(images, sizes, labels, boxes, masks, present, exists)
        return total, terms

    def play(self, images, sizes, labels, boxes, masks, present, exists):
        total, terms = self.losses(images, sizes, labels, boxes, masks, present, exists)
        made = self.network(images)
        deceived = -self.opponent.score(made).mean()
        factor = ops.log(sizes.min().astype(ms.float32) * 0.0 + ops.sign(sizes.min().astype(ms.float32))) + 1.0
        terms = ops.concat((terms, deceived.reshape(1)))
        return total + 0.1 * deceived, terms, (made, boxes, factor)


def tiny_batch(rng: np.random.Generator, *, B: int = 2, size: tuple[int, int] = (H, W), first_id: int = 0) -> tuple:
    """The columns of a ClipBatch."""
    height, width = size
    exists = rng.random((B, N)) < 0.8
    return (
        rng.integers(0, 256, (B, T, height, width, 3)).astype(np.uint8),
        np.tile(np.array([[height, width]], np.int32), (B, 1)),
        np.ones((B, N), np.int32) * exists,
        rng.random((B, N, T, 4)).astype(np.float32),
        np.zeros((B, N, T, height, width), np.uint8),
        np.repeat(exists[:, :, None], T, axis=2),
        exists,
        np.stack((np.arange(first_id, first_id + B), np.full(B, 7)), axis=1).astype(np.int64),
    )


class TinySource:
    """Epochs of batches that depend only on (seed, epoch, position), as the real source's do.

    With ``shard`` (rank, ranks) every batch of one process is cut into equal parts, one a rank.
    """

    def __init__(self, *, batches: int = 5, B: int = 2, seed: int = 0, shard: tuple[int, int] = (0, 1)) -> None:
        self.num_batches, self.batch_size, self.seed, self.shard = batches, B, seed, shard
        self.epoch = self.position = 0
        self.poison: int | None = None

    def seek(self, epoch: int, position: int = 0) -> None:
        self.epoch, self.position = epoch, position

    def batch(self, epoch: int, position: int) -> tuple:
        rng = np.random.default_rng([self.seed, epoch, position])
        columns = tiny_batch(rng, B=self.batch_size, first_id=100 * epoch + 10 * position)
        if self.poison == epoch * self.num_batches + position:
            columns[3][0, columns[6][0].argmax()] = np.nan
        rank, ranks = self.shard
        part = self.batch_size // ranks
        return tuple(column[rank * part : (rank + 1) * part] for column in columns)

    def __iter__(self):
        epoch, position = self.epoch, self.position
        self.seek(epoch + 1)
        for index in range(position, self.num_batches):
            yield self.batch(epoch, index)


def tiny_dataset(source: TinySource) -> ms_dataset.GeneratorDataset:
    dataset = ms_dataset.GeneratorDataset(
        source,
        column_names=list(CLIP_BATCH_COLUMNS),
        shuffle=False,
        num_parallel_workers=1,
        python_multiprocessing=False,
    )
    dataset.dataset_size = source.num_batches
    return dataset


GROUPS = (
    ParameterGroup("backbone", "backbone", 1e-3, 1e-4),
    ParameterGroup("offsets", "sampling_offsets|reference_points", 1e-3, 1e-4),
    ParameterGroup("rest", "", 1e-2, 1e-4),
)


def tiny_step(
    *,
    network: nn.Cell | None = None,
    kind="adamw",
    updates: int = 100,
    seed: int = 5,
    reduce_count=None,
    adversarial: bool = False,
    training: type[nn.Cell] | None = None,
    **options,
) -> TrainStep:
    """A training step around a tiny network; ``options`` go to TrainStep."""
    network = network or TinyNetwork()
    training = (training or (TinyAdversarial if adversarial else TinyTraining))(network, reduce_count)
    if adversarial:
        players = assign_parameters(training.opponent.trainable_params(), GROUPS)
        options["opponent"] = Opponent(
            player=training.opponent,
            optimizer=build_optimizer(kind, players, owner=OWNER),
            clip_norm=options.get("clip_norm", 0.0),
            accumulate=options.get("accumulate", 1),
        )
    groups = assign_parameters(network.trainable_params(), GROUPS)
    options.setdefault("factors", np.ones(updates, np.float32))
    step = TrainStep(training=training, optimizer=build_optimizer(kind, groups), **options)
    seed_dropout(training, step.iteration, seed=seed)
    return step


def as_tensors(columns: tuple) -> tuple:
    return tuple(Tensor(column) for column in columns)


def parameter_values(step: nn.Cell) -> dict[str, np.ndarray]:
    return {p.name: p.asnumpy().copy() for p in step.get_parameters()}


def tiny_trainer(folder: Path, *, source=None, options=None, step=None, **trainer_options) -> Trainer:
    """A trainer over a tiny network with dropout, an average of its weights and clipping."""
    source = source or TinySource()
    network = trainer_options.pop("network", None) or TinyNetwork(dropout=0.3)
    if step is None:
        average = WeightAverage(network.trainable_params(), decay=0.9)
        step = tiny_step(network=network, average=average, clip_norm=1.0)
    return Trainer(
        step=step,
        network=network,
        data=TrainingData(tiny_dataset(source), source.num_batches, source.seek),
        folder=RunFolder(folder),
        options=options or TrainerOptions(epochs=4, log_every=3, checkpoint_every=4),
        term_names=TinyTraining.term_names if step.opponent is None else TinyAdversarial.term_names,
        facts={"seed": source.seed},
        **trainer_options,
    )
