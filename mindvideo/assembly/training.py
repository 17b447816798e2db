"""From a configuration to a run: data, network, losses, optimiser, schedule, trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.assembly.network import build_network
from mindvideo.assembly.runtime import prepare_device
from mindvideo.execution.precision import apply_precision, chosen_precision
from mindvideo.models.registry import card_of
from mindvideo.modules.layers.dropout import seed_dropout
from mindvideo.run_folder import RunFolder
from mindvideo.training.distributed import MeanOverRanks, Ranks, current_ranks, start_distributed
from mindvideo.training.ema import WeightAverage
from mindvideo.training.loss_scale import loss_scale_for
from mindvideo.training.opponent import OWNER, Opponent, player_of
from mindvideo.training.optimizer import GroupedOptimizer, build_optimizer
from mindvideo.training.parameter_groups import AssignedGroup, ParameterGroup, assign_parameters, group_table
from mindvideo.training.running_statistics import running_statistics
from mindvideo.training.schedule import build_schedule
from mindvideo.training.train_step import TrainStep
from mindvideo.training.trainer import Trainer, TrainerOptions, TrainingData
from mindvideo.training.wandb_run import require_wandb

_log = logging.getLogger("mindvideo.train")


def build_trainer(
    cfg: ConfigDict,
    *,
    data: TrainingData,
    folder: RunFolder,
    weights: str | Path | None = None,
    evaluate: Callable[[nn.Cell], dict[str, float]] | None = None,
) -> Trainer:
    """The trainer of a configuration. The device has to be prepared (:func:`start_process`)."""
    family = card_of(cfg.family)
    network = build_network(cfg, weights=weights, start_of_training=True, class_names=data.class_names)
    training = family.build_training(cfg, network, MeanOverRanks())
    step = build_step(cfg, network, training, data.batches_per_epoch, family.parameter_groups(cfg))
    options, ranks = trainer_options(cfg, data), current_ranks()
    facts = {"seed": cfg.runtime.seed, "batch_size": cfg.data.batch_size, "config": cfg.name}
    if ranks.is_first:
        count = sum(parameter.size for parameter in network.trainable_params())
        _log.info("%s: %s trainable values; %d processes", cfg.name, f"{count:,}", ranks.world_size)
    return Trainer(
        step=step,
        network=network,
        data=data,
        folder=folder,
        options=options,
        term_names=tuple(training.term_names),
        evaluate=evaluate,
        facts=facts,
    )


def build_step(
    cfg: ConfigDict, network: nn.Cell, training: nn.Cell, steps_per_epoch: int, groups: Sequence[ParameterGroup]
) -> TrainStep:
    """The training step of a configuration around a network and its losses."""
    optimizer, train, runtime = cfg.optimizer, cfg.train, cfg.runtime
    player = player_of(training)
    everything = [*network.trainable_params(), *(player.trainable_params() if player is not None else ())]
    announce_groups(assign_parameters(everything, groups, no_decay=list(optimizer.no_weight_decay)))
    precision = chosen_precision(train.precision)
    apply_precision(network, precision, for_training=True)
    average = None
    if train.average_decay > 0:
        followed = [*network.trainable_params(), *running_statistics(network)]
        average = WeightAverage(followed, decay=train.average_decay)
    step = TrainStep(
        training=training,
        optimizer=optimizer_of(cfg, network, groups),
        factors=schedule_of(cfg, steps_per_epoch),
        clip_norm=optimizer.clip_norm,
        accumulate=train.accumulate,
        average=average,
        loss_scale=loss_scale_for(precision, initial=train.loss_scale, patience=train.loss_scale_patience),
        opponent=None if player is None else build_opponent(cfg, player, groups),
        recompute=recompute_asked(train.recompute),
    )
    # Each process draws masks of its own, as each sees clips of its own.
    seed_dropout(training, step.iteration, seed=runtime.seed + current_ranks().rank)
    return step


def recompute_asked(recompute: bool) -> bool:
    """Only compiled graphs can: operator by operator everything is kept."""
    if recompute and ms.get_context("mode") != ms.GRAPH_MODE:
        _log.warning("train.recompute has no effect in pynative mode")
        return False
    return recompute


def optimizer_of(
    cfg: ConfigDict, trained: nn.Cell, groups: Sequence[ParameterGroup], *, owner: str = ""
) -> GroupedOptimizer:
    optimizer = cfg.optimizer
    return build_optimizer(
        optimizer.kind,
        assign_parameters(trained.trainable_params(), groups, no_decay=list(optimizer.no_weight_decay)),
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        eps=optimizer.eps,
        momentum=optimizer.momentum,
        owner=owner,
    )


def build_opponent(cfg: ConfigDict, player: nn.Cell, groups: Sequence[ParameterGroup]) -> Opponent:
    """The other player of a training network, with an optimiser of its own."""
    return Opponent(
        player=player,
        optimizer=optimizer_of(cfg, player, groups, owner=OWNER),
        clip_norm=cfg.optimizer.clip_norm,
        accumulate=cfg.train.accumulate,
    )


def announce_groups(groups: list[AssignedGroup]) -> None:
    if current_ranks().is_first:
        _log.info("parameter groups:\n%s", group_table(groups))


def schedule_of(cfg: ConfigDict, steps_per_epoch: int) -> np.ndarray:
    """Factors on the learning rates, as :func:`build_schedule` gives them."""
    schedule = cfg.schedule
    num_steps = schedule.epochs * steps_per_epoch
    if schedule.max_steps is not None:
        num_steps = min(num_steps, schedule.max_steps)
    if schedule.warmup_steps >= num_steps and current_ranks().is_first:
        _log.warning(
            "schedule.warmup_steps is %d and the run has %d steps: the learning rate never reaches its full height",
            schedule.warmup_steps,
            num_steps,
        )
    return build_schedule(
        schedule.kind,
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        step_epochs=schedule.step_epochs,
        milestones=list(schedule.milestones),
        gamma=schedule.gamma,
        final_factor=schedule.final_factor,
        warmup_steps=schedule.warmup_steps,
        warmup_factor=schedule.warmup_factor,
        power=schedule.power,
        late_warmup_steps=schedule.late_warmup_steps,
    )


def trainer_options(cfg: ConfigDict, data: TrainingData) -> TrainerOptions:
    schedule, train = cfg.schedule, cfg.train
    if train.wandb:
        require_wandb()
    return TrainerOptions(
        epochs=schedule.epochs,
        max_steps=schedule.max_steps,
        log_every=train.log_every,
        checkpoint_every=train.checkpoint_every,
        keep_checkpoints=train.keep_checkpoints,
        evaluate_every=train.evaluate_every * data.batches_per_epoch,
        best_metric=train.best_metric,
        patience=train.patience,
        keep_weights_every=train.keep_weights_every,
        wandb=train.wandb,
    )


def start_process(cfg: ConfigDict) -> Ranks:
    """Device, mode, seeds and, where a launcher started several processes, their connection."""
    prepare_device(cfg)
    return start_distributed()
