"""The data every part of mindvideo exchanges: NumPy only, validated when made."""

from mindvideo.structures.clip import CLIP_BATCH_COLUMNS, ClipBatch, ClipTargets, Frame
from mindvideo.structures.instances import Segmentation, VideoInstances

__all__ = ["CLIP_BATCH_COLUMNS", "ClipBatch", "ClipTargets", "Frame", "Segmentation", "VideoInstances"]
