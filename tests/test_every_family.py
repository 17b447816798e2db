"""A row of the registry brings its folder, configurations, small settings, golden data and parity test."""

from __future__ import annotations

import pytest

from mindvideo import load_config
from mindvideo.config import known_configs
from mindvideo.models.registry import FAMILIES, card_of
from tests.test_layout import PROJECT


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_complete(family):
    assert card_of(family).name == family
    assert list((PROJECT / "config" / family).glob("*.yaml")), f"config/{family}: no configuration"
    assert f"{family}_toy" in known_configs(), f"config/{family}/{family}_toy.yaml: something that trains in minutes"
    assert (PROJECT / "tests" / "models" / family / "small.py").is_file(), "settings for the matrix over all families"
    assert list((PROJECT / "tests" / "parity").glob(f"test_{family}*.py")), "a comparison with the original"
    assert any((PROJECT / "tests" / "golden" / family).iterdir()), "numbers of the original"


def test_every_configuration_is_of_a_family_of_the_registry():
    strangers = {name for name in known_configs() if load_config(name).family not in FAMILIES}
    assert not strangers
