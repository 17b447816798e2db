"""A worker whose models find coloured discs; what it does besides depends on the name of the weights file."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from mindvideo.errors import UserError
from mindvideo.inference.predictor import Predictor
from mindvideo.processes import end_with_parent
from mindvideo.serve.worker import work
from tests.inference.colored_videos import ColorTracker

CLASS_NAMES = {1: "<img src=x onerror=alert(1)>", 2: "=1+1", 3: "blue"}


class SlowTracker(ColorTracker):
    """Half a second a frame."""

    def feed(self, frame):
        time.sleep(0.5)
        return super().feed(frame)


def make_predictor(config: Path, weights: Path) -> Predictor:
    if "broken" in weights.name:
        raise UserError(f"weights {weights.name} do not fit")
    if "bug" in weights.name:
        raise ZeroDivisionError("a fault of ours\nwith a second line")
    if "killed" in weights.name:
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(1, b"this is no news\n")  # libraries print when they like
    tracker = SlowTracker() if "slow" in weights.name else ColorTracker(delay=2)
    return Predictor(tracker=tracker, class_names=CLASS_NAMES)


if __name__ == "__main__":
    end_with_parent()
    sys.stderr.write("stub\n")
    work(make_predictor)
