"""Typed, strict configuration: YAML files checked against one schema. ``mindvideo.load_config`` knows the families."""

from mindvideo.config.load import dump_config, find_config, known_configs

__all__ = ["dump_config", "find_config", "known_configs"]
