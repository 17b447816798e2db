"""The page that shows a configuration's training clips before and after augmentation."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from mindvideo.assembly.data import build_catalogue, clip_settings
from mindvideo.data.clips.assemble import dataset_categories, training_clips
from mindvideo.data.clips.browse import contact_sheet, draw_clip, page
from mindvideo.data.clips.pasting import PastedClips
from mindvideo.data.clips.training import JointClips, TrainingClips
from mindvideo.data.feed.epoch_order import EpochOrder, sample_generator
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.errors import UserError

COLUMNS = 6  # frames in a row
ON_DISK, TRAINING = "as on disk", "as training sees it"
Entry = tuple[str, str, np.ndarray | None]  # heading, explanation, picture
logger = logging.getLogger("mindvideo.browse")


def browse_page(cfg: ConfigDict, *, num_clips: int, epoch: int, frame_width: int) -> str:
    """HTML of the first clips of an epoch, as they lie on disk and as training sees them."""
    data, runtime = cfg.data, cfg.runtime
    if not data.train:
        raise UserError(
            "data.train is empty, so there are no clips; name a set, for instance data.train=[ytvis19/train]"
        )
    catalogue = build_catalogue(cfg)
    clips = training_clips(data.train, catalogue=catalogue, settings=clip_settings(cfg))
    drawing = _Drawing(
        {entry.id: entry.name for entry in dataset_categories(catalogue.find(data.train[0]))}, frame_width
    )
    order = EpochOrder(num_samples=len(clips), batch_size=1, seed=runtime.seed)
    entries: list[Entry] = []
    for index in order.batches(epoch)[:num_clips, 0].tolist():
        # Both begin with the same draws; training goes on with them where it takes another clip.
        generators = [sample_generator(runtime.seed, epoch, index) for _ in (ON_DISK, TRAINING)]
        source = _clip_on_disk(clips, index, generators[0])
        entries.append(drawing.entry(source, heading=_name_of(source), what=ON_DISK))
        entries.append(_training_entry(clips, index, generators[1], source, drawing))
    return page(f"{cfg.name}: {', '.join(data.train)}", entries)


class _Drawing:
    """Clips as entries of the page, all with the same class names and frame width."""

    def __init__(self, names: Mapping[int, str], width: int) -> None:
        self.names, self.width = names, width

    def entry(self, clip: ClipSample, *, heading: str, what: str) -> Entry:
        """A clip that cannot be read has no picture; the broken frame is named in its place."""
        try:
            sheet = contact_sheet(draw_clip(clip, self.names, width=self.width), columns=COLUMNS)
        except BrokenFrameError as error:
            logger.warning("%s: %s", heading, error)
            return heading, f"{what}: {error}", None
        frames = ", ".join(map(str, clip.frame_indices))
        return heading, f"{what}: {clip.size[0]} x {clip.size[1]}, frames {frames}", sheet


def _clip_on_disk(clips: TrainingClips | JointClips, index: int, rng: np.random.Generator) -> ClipSample:
    part, position = clips.locate(index) if isinstance(clips, JointClips) else (clips, index)
    source = part.source.source if isinstance(part.source, PastedClips) else part.source
    return source.clip(position, rng)


def _training_entry(
    clips: TrainingClips | JointClips,
    index: int,
    rng: np.random.Generator,
    source: ClipSample,
    drawing: _Drawing,
) -> Entry:
    """A sample as training sees it. It may be another clip than the one on disk; it is then named."""
    try:
        shown, broken = clips.sample(index, rng)
    except UserError as error:
        logger.warning("%s: training stops here: %s", _name_of(source), error)
        return "", f"{TRAINING}: training stops here: {error}", None
    if _name_of(shown) == _name_of(source):
        return drawing.entry(shown, heading="", what=TRAINING)
    reason = "; ".join(broken) or "the transforms leave too few or too many instances of the one above"
    return drawing.entry(shown, heading="", what=f"{TRAINING}, which takes {_name_of(shown)} instead ({reason})")


def _name_of(clip: ClipSample) -> str:
    return f"Video {clip.video_id}, key frame {clip.key_frame}"
