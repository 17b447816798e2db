"""With ``train.evaluate=true`` every configuration validates on labels that exist, of videos that it does not learn."""

from __future__ import annotations

import pytest

from mindvideo import load_config
from mindvideo.assembly.training_sets import hold_out
from mindvideo.config import known_configs

OFFICIAL = ("ytvis19", "ytvis21", "ytvis22", "ovis")


@pytest.mark.parametrize("name", sorted(known_configs()))
def test_no_published_recipe_validates_on_what_it_learns(name):
    cfg = load_config(name, ["train.evaluate=true"])
    published = list(cfg.data.train)
    hold_out(cfg)
    validated, split = cfg.data.valid.split("/")
    assert f"{validated}/{split}" not in cfg.data.train
    if validated in OFFICIAL:  # whose own validation labels are withheld
        assert split == "split_valid" and f"{validated}/train" not in cfg.data.train
        assert (f"{validated}/split_train" in cfg.data.train) == (f"{validated}/train" in published)
    whole = load_config(name)
    hold_out(whole)
    assert list(whole.data.train) == published and not whole.train.evaluate
