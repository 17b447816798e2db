"""Typed, strict configuration: YAML files checked against one schema."""

from mindvideo.config.load import dump_config, find_config, known_configs, load_config

__all__ = ["dump_config", "find_config", "known_configs", "load_config"]
