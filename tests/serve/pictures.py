"""Pictures of the page for docs/serve.md, wide and on a phone: python -m tests.serve.pictures docs

A made-up video goes through the page's own server and browser. In place of a trained model a worker hands out the masks
that the video was drawn from, so that the pictures are the same each time and nothing has to be trained.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.data.synthetic.files import write_video_files
from mindvideo.data.synthetic.shapes import SILHOUETTES
from mindvideo.data.synthetic.videos import SyntheticRecipe, render_video
from mindvideo.inference.predictor import Predictor
from mindvideo.masks.rle import encode_mask
from mindvideo.processes import end_with_parent
from mindvideo.serve.server import running_server
from mindvideo.serve.worker import work
from mindvideo.structures import VideoInstances
from tests.report.chromium import Page
from tests.serve.test_page import by_id, enter, press, put_files, row

RECIPE = SyntheticRecipe(
    height=360,
    width=640,
    num_frames=48,
    objects=(4, 5),
    shapes=tuple(SILHOUETTES),
    radius=(7.0, 11.5),
    background_mean=(0.3, 0.5),
    pixel_noise=0.0,
    stripes=0.08,
    angle_step=0.03,
    scale_step=0.0,
    speed=0.3,
    min_inside=1.0,
)
SEED, SPLIT = 6, "test"
NAMES = {number: name for number, name in enumerate(SILHOUETTES, start=1)}
COLOURS = 256


class TrueMasks:
    """A tracker that knows the video."""

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:  # noqa: ARG002
        self.video = render_video(RECIPE, seed=SEED, split=SPLIT, index=0)
        self.size, self.video_id, self.seen = size, video_id, 0

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:  # noqa: ARG002
        self.seen += 1
        return [self._result(self.seen - 1, self.seen)]

    def finish(self) -> VideoInstances:
        return self._result(0, self.seen)

    def _result(self, start: int, stop: int) -> VideoInstances:
        masks = self.video.masks[:, start:stop]
        N = len(masks)
        return VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=stop - start,
            scores=np.linspace(0.97, 0.71, N).astype(np.float32),
            labels=np.array(self.video.labels, np.int64),
            track_ids=np.arange(1, N + 1),
            segmentations=[[encode_mask(mask) if mask.any() else None for mask in frames] for frames in masks],
        )


def save(page: Page, path: Path, *, full: bool) -> None:
    """As a PNG of few colours."""
    temporary = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        page.picture(Path(folder) / "page.png", full=full)
        picture = Image.open(Path(folder) / "page.png").convert("RGB")
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)
    path.write_bytes(temporary.getvalue())
    sys.stdout.write(f"wrote {path}: {picture.width} x {picture.height}, {path.stat().st_size // 1000} kB\n")


def send(page: Page, video: Path) -> None:
    page.wait_for(f"{by_id('weights')}.options.length > 0")
    put_files(page, "pick-file", video)
    page.wait_for(f"!{by_id('start')}.disabled")
    press(page, by_id("start"))
    page.wait_for("Boolean(document.querySelector('#jobs li.done'))", 60)


def open_video(page: Page) -> None:
    press(page, "document.querySelector('#jobs li.done button')")
    page.wait_for("document.querySelectorAll('#tracks li').length > 1")
    for _ in range(20):
        page.press("ArrowRight")
    page.wait_for(f"{by_id('frame-number')}.textContent.startsWith('frame 21 ')", 20)


def take(address: str, video: Path, output: Path) -> None:
    with Page(address, width=1180, height=900) as page:
        send(page, video)
        open_video(page)
        enter(page, f"{row(1)}.querySelector('input[type=text]')", "the leader")
        page.ask("document.activeElement.blur()")
        press(page, f"{row(3)}.querySelector('input[type=checkbox]')")
        save(page, output / "serve_wide.png", full=True)
    with Page(address, width=390, height=844, dark=True) as page:
        page.wait_for("Boolean(document.querySelector('#jobs li.done'))")
        open_video(page)
        page.ask(f"{by_id('viewer')}.scrollIntoView()")
        save(page, output / "serve_phone.png", full=False)
    with Page(address, width=1180, height=900) as page:
        page.wait_for(f"{by_id('weights')}.options.length > 0")
        press(page, "document.querySelector('#published-models summary')")
        page.wait_for("document.querySelectorAll('#published li').length > 3")
        page.ask("document.getElementById('published').scrollTop = 0")
        save(page, output / "serve_models.png", full=False)


def main(output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINDVIDEO_CACHE"] = f"{folder}/cache"
        models = Path(folder) / "models"
        models.mkdir()
        (models / "vistr_toy.ckpt").write_bytes(b"the worker does not read it")
        [video] = write_video_files(folder, RECIPE, split=SPLIT, num_videos=1, seed=SEED)
        video = video.rename(video.with_name("shapes.mp4"))
        worker = [sys.executable, "-m", "tests.serve.pictures", "--worker"]
        with running_server(
            Path(folder) / "served", worker=worker, configuration="vistr_toy", folders=[models]
        ) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            take(f"http://localhost:{server.server_address[1]}/", video, output)
            server.shutdown()


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        end_with_parent()
        work(lambda *_: Predictor(tracker=TrueMasks(), class_names=NAMES))
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        sys.exit("usage: python -m tests.serve.pictures FOLDER")
