"""The process that runs the models for ``mindvideo serve``; it is started by the server and ends with it."""

from __future__ import annotations

from pathlib import Path

from mindvideo.assembly.configuration import load_config
from mindvideo.inference.predictor import Predictor
from mindvideo.logs import set_up_logging
from mindvideo.processes import end_with_parent
from mindvideo.serve.worker import work


def make_predictor(config: Path, weights: Path) -> Predictor:
    from mindvideo.assembly import VideoPredictor  # MindSpore loads only when there is something to run

    return VideoPredictor.from_config(load_config(config), weights=weights)


def main() -> None:
    end_with_parent()
    set_up_logging("info")
    work(make_predictor)


if __name__ == "__main__":
    main()
