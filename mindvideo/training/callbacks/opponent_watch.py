"""Says when the opponent of an adversarial training has won, or could not learn. The run goes on either way."""

from __future__ import annotations

import logging
import math

from mindspore.train import Callback, RunContext

from mindvideo.training.callbacks.step_report import report_of

WON_BELOW = 1e-3  # a loss of the opponent, averaged over the steps between two looks
_log = logging.getLogger("mindvideo.train")


class OpponentWatch(Callback):
    """Looks at the opponent's loss, the value called ``loss_name``, every ``every`` steps."""

    def __init__(self, *, loss_name: str, every: int) -> None:
        super().__init__()
        self.loss_name, self.every = loss_name, every
        self._sum, self._steps, self._left_out = 0.0, 0, 0
        self._won = False

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        loss = report.terms[self.loss_name]
        if math.isfinite(loss):
            self._sum, self._steps = self._sum + loss, self._steps + 1
        else:
            self._left_out += 1
        if report.step % self.every == 0 or report.is_last:
            self._look(report.step)

    def _look(self, step: int) -> None:
        if self._left_out:
            _log.warning(
                "step %d: %s was not finite in %d steps, in which the opponent learnt nothing; the network goes on",
                step,
                self.loss_name,
                self._left_out,
            )
        won = self._steps > 0 and self._sum / self._steps < WON_BELOW
        if won and not self._won:
            _log.warning(
                "step %d: the opponent wins outright: %s is %.2g. Training goes on; a smaller learning rate for the "
                "opponent gives the network a chance",
                step,
                self.loss_name,
                self._sum / self._steps,
            )
        self._won = won
        self._sum, self._steps, self._left_out = 0.0, 0, 0
