"""Train a model: one process, or as many as a launcher starts (see docs/training.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.assembly.training_sets import hold_out
from mindvideo.cli.arguments import CONFIG_EPILOG, EXIT_INTERRUPTED, EXIT_OK, config_parser
from mindvideo.config import dump_config, find_config
from mindvideo.errors import UserError
from mindvideo.files import write_json
from mindvideo.logs import set_up_logging
from mindvideo.processes import end_with_parent, is_first_process, num_launched
from mindvideo.run_folder import CLASSES, RunFolder
from mindvideo.weights.find import find_weights

EXAMPLES = """
Examples:
  mindvideo train -c vistr_toy --output runs/toy
  mindvideo train -c vistr_toy --output runs/toy --resume             go on from the newest whole checkpoint
  mindvideo train -c vistr --weights detr_r50.pth train.precision=fp16 train.accumulate=4
  mindvideo launch 8 -c vistr --output runs/vistr                     eight processes on this machine
Ctrl-C or SIGTERM once ends after the step in progress, with a checkpoint; twice ends at once.
  mindvideo train -c vistr train.evaluate=true train.evaluate_every=1 train.patience=4     ends when it gains no more
Written to the run folder: checkpoints/, last.ckpt, best.ckpt, metrics.jsonl, tensorboard/, log.txt, config.yaml,
classes.json (category ids and names, which the .ckpt files hold too), weights/ with train.keep_weights_every
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.epilog = EXAMPLES + CONFIG_EPILOG
    parser.add_argument(
        "--import", dest="modules", action="append", default=[], metavar="FILE",
        help="run this Python file first, for instance one that registers loss terms for loss.own_terms",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output where it stopped")
    return parser.parse_intermixed_args(arguments)  # overrides may stand between the options


def main() -> int:
    arguments = parse_arguments()
    if num_launched() > 1:
        end_with_parent()  # msrun may be killed; its processes must not train on
    cfg = load_config(arguments.config, arguments.overrides)
    check_output(arguments)
    is_first = is_first_process()
    folder = plan_folder(arguments, cfg, is_first=is_first)
    hold_out(cfg)
    # MindSpore and the models load only now, so that a mistake in the arguments is shown at once.
    from mindvideo.assembly import build_trainer, build_training_data, build_validation, start_process
    from mindvideo.modules.losses.own import import_file

    ranks = start_process(cfg)
    for file in arguments.modules:
        import_file(file)
    data = build_training_data(cfg, ranks)
    evaluate = build_validation(cfg, ranks=ranks, folder=folder.path) if cfg.train.evaluate else None
    # A resumed run takes its weights from its own checkpoint.
    named = arguments.weights or cfg.weights
    given_weights = str(find_weights(named)) if named else None
    weights = None if arguments.resume and (folder.path / "checkpoints").is_dir() else given_weights
    trainer = build_trainer(cfg, data=data, folder=folder, weights=weights, evaluate=evaluate)
    if arguments.resume:
        trainer.resume()
    trainer.refuse_another_run()
    if is_first:  # nothing stands against the run any more: only now is anything written
        given, resolved = find_config(arguments.config), dump_config(cfg)
        folder.begin(config_file=given, resolved_config=resolved, weights=given_weights)
        write_json(folder.path / CLASSES, data.class_names)
    outcome = trainer.run()
    if outcome.finished and ranks.is_first:
        best = f", best {outcome.best['metric']} {outcome.best['value']:.4g}" if outcome.best else ""
        print(f"trained {outcome.steps} steps{best}; weights in {folder.path}")
    # msrun kills the others when a process ends with a fault: the first one may still be saving.
    return EXIT_OK if outcome.finished or not ranks.is_first else EXIT_INTERRUPTED


def check_output(arguments: argparse.Namespace) -> None:
    if arguments.resume and (arguments.output is None or not Path(arguments.output).is_dir()):
        raise UserError(f"--resume needs the folder of the run to go on with; --output is {arguments.output}")
    if arguments.output is None and num_launched() > 1:
        raise UserError("several processes write into one run folder: name it with --output")


def plan_folder(arguments: argparse.Namespace, cfg: ConfigDict, *, is_first: bool) -> RunFolder:
    """The first process writes into the folder; the others only know where it is."""
    if is_first:
        return RunFolder.plan(output=arguments.output, name=cfg.name, log_level=cfg.runtime.log_level)
    set_up_logging("warning")
    return RunFolder(Path(arguments.output))
