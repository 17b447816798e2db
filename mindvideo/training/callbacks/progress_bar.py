"""A bar with the time left, on a terminal; elsewhere the lines of the step log do the work."""

from __future__ import annotations

import sys
import time

from mindspore.train import Callback, RunContext
from tqdm import tqdm

from mindvideo.training.callbacks.step_report import report_of


class ProgressBar(Callback):
    def __init__(self, *, total_steps: int, start: int = 0) -> None:
        super().__init__()
        self.bar = tqdm(
            total=total_steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        self.bar.set_postfix_str(f"loss {report.total:.4g}", refresh=False)
        self.bar.update()
        if report.compiled:  # the time for compiling says nothing of the steps to come
            self.bar.initial = self.bar.n
            self.bar.start_t = self.bar.last_print_t = time.time()

    def close(self) -> None:
        self.bar.close()
