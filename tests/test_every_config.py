"""Every YAML of ``config/`` builds its network, training graph, tracker, weight rules and optimiser groups.

Widths and depths are those of the file where they are cheap to build; the weights are not initialised.
"""

from __future__ import annotations

import pytest
from mindspore import nn
from mindspore.nn.utils import no_init_parameters

from mindvideo import load_config
from mindvideo.assembly.data import clip_settings
from mindvideo.config import known_configs
from mindvideo.models.registry import card_of
from mindvideo.training.parameter_groups import assign_parameters

# Reduced where a file asks for more: layers are all alike.
FEWER_LAYERS = {"encoder_layers": 1, "decoder_layers": 2}


@pytest.mark.parametrize("name", sorted(known_configs()))
def test_configuration_builds(name: str):
    cfg = load_config(name)
    section = cfg[cfg.family]
    overrides = [
        f"{cfg.family}.{key}={min(section[key], least)}" for key, least in FEWER_LAYERS.items() if key in section
    ]
    cfg = load_config(name, overrides)
    family = card_of(cfg.family)
    with no_init_parameters():
        network = family.build_network(cfg)
    training = family.build_training(cfg, network, nn.Identity())
    assert len(training.term_names) == len(set(training.term_names)) > 3
    tracker = family.build_tracker(cfg, network)
    assert callable(tracker.feed)
    if hasattr(network, "dynamic_masks"):  # one predicted cell for each mask pixel that the data gives
        assert family.mask_stride(cfg) == network.dynamic_masks.stride // 2
    trainable = network.trainable_params()
    groups = assign_parameters(trainable, family.parameter_groups(cfg))
    assigned = [parameter.name for group in groups for parameter in group.parameters]
    assert sorted(assigned) == sorted(parameter.name for parameter in trainable)
    assert family.weight_rules(cfg)
    assert clip_settings(cfg).num_frames == cfg.data.num_frames
