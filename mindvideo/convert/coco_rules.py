"""Detectors trained on COCO as a start for the video models."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from mindvideo.convert.backbone_rules import backbone_rules
from mindvideo.convert.rules import Rule, RuleTable


def detector_table(
    published: RuleTable,
    *,
    name: str,
    describes: str,
    prefix: tuple[str, str],
    dropped: Sequence[str],
    fresh: Sequence[str],
) -> RuleTable:
    """A detector whose entries have the names of the video model's own checkpoint but for their ``prefix``.

    ``prefix`` is (the video model's, the detector's), for instance ("vistr.", "detr."). ``dropped`` are patterns of the
    detector's entries that are not taken over, ``fresh`` of the parameters that start anew.
    """
    ours, theirs = (re.escape(part) for part in prefix)
    rules = tuple(
        dataclasses.replace(rule, pattern=theirs + rule.pattern[len(ours) :]) if rule.pattern.startswith(ours) else rule
        for rule in published.rules
    )
    return RuleTable(name, rules, describes, fresh=tuple(fresh), dropped=tuple(dropped))


def deformable_detr_backbone_table(target: str) -> RuleTable:
    """Deformable DETR's file, of which only the backbone fits (the widths of the rest differ)."""
    return RuleTable(
        "coco_deformable_detr",
        (
            *backbone_rules("backbone.0.body.", target),
            Rule(r"(?:transformer|class_embed|bbox_embed|query_embed|input_proj)\..*", None),
        ),
        "Deformable DETR trained on COCO (the backbone alone)",
        fresh=(rf"(?!{re.escape(target)}).*",),
    )
