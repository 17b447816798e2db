"""The page that shows a configuration's training clips before and after augmentation."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.build.data import build_catalogue, clip_settings
from mindvideo.data.assemble import dataset_categories, training_clips
from mindvideo.data.browse import contact_sheet, draw_clip, page
from mindvideo.data.epoch_order import EpochOrder, sample_generator
from mindvideo.data.training_clips import JointClips

COLUMNS = 6  # frames in a row


def browse_page(cfg: ConfigDict, *, num_clips: int, epoch: int, frame_width: int) -> str:
    """HTML of the first clips of an epoch, as they lie on disk and as training sees them."""
    data, runtime = cfg.data, cfg.runtime
    catalogue = build_catalogue(cfg)
    clips = training_clips(data.train, catalogue=catalogue, settings=clip_settings(cfg))
    names = {entry.id: entry.name for entry in dataset_categories(catalogue.find(data.train[0]))}
    order = EpochOrder(num_samples=len(clips), batch_size=1, seed=runtime.seed)
    entries = []
    for index in order.batches(epoch)[:num_clips, 0]:
        part, position = clips.locate(int(index)) if isinstance(clips, JointClips) else (clips, int(index))
        source = part.source.clip(position, sample_generator(runtime.seed, epoch, int(index)))
        shown, _ = clips.sample(int(index), sample_generator(runtime.seed, epoch, int(index)))
        heading = f"Video {source.video_id}, key frame {source.key_frame}"
        for clip, title, what in ((source, heading, "as on disk"), (shown, "", "as training sees it")):
            height, width = clip.size
            sheet = contact_sheet(draw_clip(clip, names, width=frame_width), columns=COLUMNS)
            frames = ", ".join(map(str, clip.frame_indices))
            entries.append((title, f"{what}: {height} x {width}, frames {frames}", sheet))
    return page(f"{cfg.name}: {', '.join(data.train)}", entries)
