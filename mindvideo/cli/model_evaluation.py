"""``mindvideo eval`` with a model: it runs over a set; labelled videos are scored, others prepared for a server."""

from __future__ import annotations

import argparse
import gc
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.cli.arguments import EXIT_OK
from mindvideo.cli.eval_images import COCO_RESULTS, finish_images
from mindvideo.cli.next_step import analyze_command, folder_of_frames, submit_command
from mindvideo.cli.output_folder import PROCESSES, plan_folder
from mindvideo.cli.result_settings import check_weights_file, result_settings, weights_facts
from mindvideo.cli.scoring import evaluate, finish, remember, report, require_same_classes, training_of
from mindvideo.cli.submit import access_to, hand_in
from mindvideo.config import dump_config, find_config
from mindvideo.errors import UserError
from mindvideo.evaluation.competitions import competition_of
from mindvideo.evaluation.ground_truth import GroundTruth
from mindvideo.evaluation.splits import LengthRules, long_videos
from mindvideo.evaluation.submission_server import URL
from mindvideo.evaluation.table import weights_table
from mindvideo.files import write_json
from mindvideo.inference.output.class_names import write_class_names
from mindvideo.inference.output.sharing import PeerLeftError, VideoSharing
from mindvideo.inference.output.store import VideoStore
from mindvideo.logs import counted
from mindvideo.processes import end_with_parent, is_first_process, num_launched
from mindvideo.report.run_report import ReportOptions
from mindvideo.run_folder import KEPT_WEIGHTS, RunFolder, kept_weights

SEVERAL = "weights.json"  # figures of several weights by the name of the file


def chosen_weights(given: str) -> list[Path]:
    """The file, or every file that a run has kept by its epoch (``train.keep_weights_every``)."""
    path = Path(given)
    if not given or not path.is_dir():
        return [check_weights_file(given)]
    found = kept_weights(path)
    if not found:
        advice = "give one of its files, for instance last.ckpt"
        raise UserError(
            f"--weights {path}: no {KEPT_WEIGHTS}/epoch_*.ckpt in this folder (train.keep_weights_every=1 keeps "
            f"them); {advice}"
        )
    return found


def evaluate_model(arguments: argparse.Namespace) -> int:
    cfg = load_config(arguments.config, arguments.overrides)
    chosen = chosen_weights(arguments.weights or cfg.weights)
    folder = plan_folder(arguments.output, cfg, name=f"{cfg.name}-eval")
    if arguments.submit and len(chosen) > 1:
        raise UserError(f"--submit sends the results of one file of weights; choose one of {arguments.weights}")
    if arguments.submit and os.environ.get(URL):
        access_to()  # to say what is missing before the work, not after it
    # MindSpore and the models load only now, so that a mistake in the arguments gets its line at once.
    from mindvideo.assembly import labelled_set, start_process
    from mindvideo.assembly.evaluation import labelled_videos, sharing_of

    if num_launched() > 1:
        end_with_parent()
    if arguments.submit and labelled_set(cfg).kind == "image":
        raise UserError(
            f"--submit is for sets of videos; COCO's server takes {COCO_RESULTS} of the run folder as it is"
        )
    ground_truth = labelled_videos(cfg, labels_needed=False)
    if not arguments.any_classes:
        for weights in chosen:
            require_same_classes(ground_truth, weights)
    long_videos(ground_truth, length_rules(arguments, cfg))  # a list that cannot be read is told before the work
    ranks = start_process(cfg)
    if len(chosen) > 1 and is_first_process():
        folder.make()
    figures: dict[str, Any] = {}
    for weights in chosen:
        output = folder.path if len(chosen) == 1 else folder.path / weights.stem
        sharing = sharing_of(ranks, output / PROCESSES)
        run = ModelRun(cfg=cfg, arguments=arguments, ground_truth=ground_truth, weights=weights, sharing=sharing)
        figures[weights.stem] = run.evaluate(RunFolder(output))
        gc.collect()  # the graphs of these weights
    if len(chosen) > 1 and is_first_process() and ground_truth.is_labelled:
        write_json(folder.path / SEVERAL, figures)
        print(f"\n{weights_table(figures)}\n\nwritten to {folder.path / SEVERAL}")
    return EXIT_OK


def length_rules(arguments: argparse.Namespace, cfg: ConfigDict) -> LengthRules:
    """Those of the command line, else of the configuration."""
    long = arguments.long_videos or ("" if arguments.short_videos else cfg.evaluation.long_videos)
    return LengthRules(long=long, short=arguments.short_videos or "")


class ModelRun:
    """One file of weights over the set."""

    def __init__(
        self,
        *,
        cfg: ConfigDict,
        arguments: argparse.Namespace,
        ground_truth: GroundTruth,
        weights: Path,
        sharing: VideoSharing,
    ) -> None:
        from mindvideo.assembly import labelled_set

        self.cfg, self.arguments, self.ground_truth = cfg, arguments, ground_truth
        self.weights, self.sharing = weights, sharing
        self.files = labelled_set(cfg)

    def evaluate(self, folder: RunFolder) -> dict[str, Any] | None:
        """The figures; None without labels, and in every process but the first."""
        from mindvideo.assembly import build_tracker, for_videos
        from mindvideo.assembly.labelled_run import LabelledRun

        cfg, sharing, output = self.cfg, self.sharing, folder.path
        videos, force = self.ground_truth.videos, self.arguments.force
        settings = {**result_settings(cfg, self.weights), "annotations": str(self.files.annotations.resolve())}
        if self.arguments.analysis:
            cfg.inference.analysis_folder = str(output / "analysis")
        made_with = weights_facts(self.weights)
        with VideoStore(output / "videos", settings=settings, made_with=made_with, lock_in=output) as store:
            if sharing.is_first:
                store.start_if_in_use()
                if not force:
                    store.require_same_settings()
            tracker = for_videos(cfg, build_tracker(cfg, weights=self.weights), evaluated=True)
            if sharing.is_first:
                run = LabelledRun.begin(store, videos, force=force)
                if self.arguments.analysis:
                    write_class_names(output / "analysis", self.ground_truth.categories)
                given = find_config(self.arguments.config)
                folder.begin(config_file=given, resolved_config=dump_config(cfg), weights=str(self.weights))
            try:
                with sharing.working():
                    if not sharing.is_first:
                        run = LabelledRun.join(store, videos)
                    figures = self._run(run, tracker, output)
                    sharing.done()
                    return figures
            except PeerLeftError as error:
                raise UserError(
                    f"process {error} has stopped; its own lines say why. Finished videos are kept"
                ) from None

    def _run(self, run: Any, tracker: Any, output: Path) -> dict[str, Any] | None:
        from mindvideo.assembly.evaluation import frame_opener

        speed = run.run_missing(tracker, frame_opener(self.cfg), sharing=self.sharing)
        if not self.sharing.is_first:
            return None
        results = output / "results.json"
        run.store.gather(results, run.rows)
        figures = None
        if self.ground_truth.is_labelled:
            figures = self._score(run, output, speed)
        else:
            self._tell_unlabelled(results)
        if self.arguments.analysis:
            video = self.ground_truth.videos[0]
            line = analyze_command(output, video.id, video=folder_of_frames(self.files.frames, video.file_names))
            print(line or f"no records in {output / 'analysis'}: these videos were finished before; add --force")
        if self.arguments.submit:
            self._submit(results)
        return figures

    def _score(self, run: Any, output: Path, speed: dict[str, Any]) -> dict[str, Any]:
        cfg, files = self.cfg, self.files
        if files.kind == "image":
            from mindvideo.assembly.evaluation import labelled_images

            return finish_images(output, labelled_images(cfg), run.results(), speed)
        rules = length_rules(self.arguments, self.cfg)
        training = training_of(self.weights)
        remember(output, output / "results.json", files.annotations, files.frames, rules, training)
        evaluation, evaluated = evaluate(self.ground_truth, run.results(), rules=rules)
        figures = finish(output, evaluation, {**speed, **evaluated})
        if cfg.evaluation.report and not self.arguments.no_report:
            options = ReportOptions(
                title=cfg.name,
                videos=cfg.evaluation.report_videos,
                megabytes=cfg.evaluation.report_megabytes,
                confidence=cfg.evaluation.confidence,
                training=training,
            )
            report(output, evaluation, run.results(), frames=files.frames, options=options)
        return figures

    def _tell_unlabelled(self, results: Path) -> None:
        files, total = self.files, len(self.ground_truth.videos)
        long = long_videos(self.ground_truth, length_rules(self.arguments, self.cfg))
        parts = "" if long is None else f" ({len(long)} long, {total - len(long)} short)"
        print(
            f"{files.name}: its labels are withheld, so there is nothing to score; "
            f"{counted(total, 'video')}{parts} in {results}"
        )
        if not self.arguments.submit:
            print(submit_command(results, files.annotations, dataset=self._competition()))

    def _submit(self, results: Path) -> None:
        access = access_to() if os.environ.get(URL) else None
        archive = hand_in(results, self.files.annotations, access=access, dataset=self.files.name)
        if access is None:
            print(f"to upload, set the variables that 'mindvideo submit --help' names ({URL}, ...)")
            print(submit_command(archive, self.files.annotations, dataset=self._competition(), upload=True))

    def _competition(self) -> str:
        """The name for ``submit --for``; empty for other sets."""
        return self.files.name.split("/")[0] if competition_of(self.files.name) else ""
