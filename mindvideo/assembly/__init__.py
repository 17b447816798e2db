"""From a configuration to data, network, training and inference: the one place, beside the cards, that reads it."""

from mindvideo.assembly.data import build_training_data, labelled_set
from mindvideo.assembly.evaluation import build_validation
from mindvideo.assembly.network import build_model, build_network
from mindvideo.assembly.predictor import VideoPredictor, build_tracker
from mindvideo.assembly.runtime import prepare_device
from mindvideo.assembly.training import build_trainer, start_process

__all__ = [
    "VideoPredictor",
    "build_model",
    "build_network",
    "build_tracker",
    "build_trainer",
    "build_training_data",
    "build_validation",
    "labelled_set",
    "prepare_device",
    "start_process",
]
